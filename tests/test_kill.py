"""Killed at any instant, a session goes on and has lost nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.projects import NAME, Project, wait_until

KILLS = 60
START_S = 0.5  # about as long as a start takes
LIFE_S = 0.8  # of a session once it is open: some experiments


def descendants(pid: int) -> list[int]:
    """Every process below ``pid`` at this instant."""
    found: list[int] = []
    queue = [pid]
    while queue:
        parent = queue.pop()
        for children in Path("/proc", str(parent), "task").glob("*/children"):
            try:
                below = [int(child) for child in children.read_text().split()]
            except OSError:
                continue
            found += below
            queue += below
    return found


def kill_with_all_below(process: subprocess.Popen[bytes]) -> None:
    """As when the machine stops: git and the evaluators get no chance to finish either."""
    os.kill(process.pid, signal.SIGSTOP)
    for pid in [*descendants(process.pid), process.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def lives(project: Project) -> int:
    """How often the session was opened so far."""
    ledger = project.ledger()
    return ledger.read_bytes().count(b'{"event": "opened"') if ledger.exists() else 0


def wait_until_open(project: Project, process: subprocess.Popen[bytes], before: int) -> None:
    wait_until(lambda: lives(project) > before or process.poll() is not None, "the session to open")


def users_files(project: Project) -> dict[Path, bytes]:
    """All that looper must leave as it is: the checkout, its index, its HEAD and the log of that."""
    return {
        path: path.read_bytes()
        for path in project.top.rglob("*")
        if path.is_file() and ".looper" not in path.parts
        if ".git" not in path.parts or path.name in ("index", "HEAD", "config")
    }


def check_nothing_lost(project: Project) -> None:
    """Everything that the ledger, git, the folders and the process table can tell about each other."""
    events, record = project.events(), project.record()
    assert record.champion is not None
    assert not record.pending
    proposed = {event["n"]: event for event in events if event["event"] == "proposed"}  # the last attempt of each
    assert sorted(proposed) == list(range(len(proposed)))
    decided = Counter(event["n"] for event in events if event["event"] == "decided")
    assert decided == Counter(range(len(proposed)))
    for event in events:
        if event["event"] == "decided" and event["verdict"] in ("keep", "discard"):
            n = event["n"]
            assert any(e["event"] == "measured" and e["n"] == n and e["status"] == "ok" for e in events)

    tried = project.git("for-each-ref", "--format=%(refname:lstrip=4) %(objectname)", f"refs/looper/{NAME}/tried")
    assert dict(line.split() for line in tried.splitlines()) == {str(n): e["commit"] for n, e in proposed.items()}
    assert project.git("rev-parse", f"looper/{NAME}").strip() == record.champion.head
    base = record.opened["base"]
    branch = project.git("rev-list", "--first-parent", "--reverse", f"{base}..looper/{NAME}").split()
    assert branch == [kept.head for kept in record.kept()[1:]]
    for kept in record.kept()[1:]:
        candidate = project.git("rev-parse", f"{kept.commit}^{{tree}}")
        assert project.git("rev-parse", f"{kept.head}^{{tree}}") == candidate
    project.git("fsck", "--strict", "--no-dangling")

    git_dir = Path(project.git("rev-parse", "--absolute-git-dir").strip())
    assert not list(git_dir.rglob("*.lock"))
    assert not (project.ledger().parent / "slots").exists()
    wait_until(lambda: not project.processes(), "the end of every process")


class Outside(Project):
    """A target in no repository; its git is the one that looper makes for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, in_git=False)

    def git(self, *args: str, data: str = "") -> str:
        return super().git(f"--git-dir={self.home / '.looper' / 'repo.git'}", *args, data=data)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "machine"), [(Project, False), (Project, True), (Outside, True)], ids=["looper", "machine", "outside"]
)
def test_killed_again_and_again(tmp_path: Path, kind: type[Project], machine: bool) -> None:
    project = kind(tmp_path)
    project.write("notes.txt", "not committed\n")
    found = users_files(project)
    instants = random.Random(machine)
    for number in range(KILLS // 3):
        opened = lives(project)
        process = project.start_run("--slots", "2", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if number % 3:  # two of three while the loop runs, one while it starts
            wait_until_open(project, process, opened)
        try:
            process.wait(instants.uniform(0, LIFE_S if number % 3 else START_S))
        except subprocess.TimeoutExpired:
            kill_with_all_below(process) if machine else process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors.decode()
        wait_until(lambda: not project.processes(), "the end of every process")

    before = project.record()
    project.run("--slots", "2", experiments=4)
    after = project.record()
    assert after.next_n == max(before.next_n, 1) + 4
    assert after.history[: len(before.history)] == before.history
    check_nothing_lost(project)
    assert users_files(project) == found
