"""Opening, resuming and refusing: what is in the way is named, and nothing of the user's is touched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.projects import COMMAND
from tests.scripted import POINT, Scripted

BETTER = [{"a": 9}, {"a": 8}, {"a": 7}, {"a": 6}, {"a": 5}, {"a": 4}]


def run(project: Scripted, *args: str, status: int = 0, cwd: Path | None = None) -> str:
    """``looper run`` with the target's proposer and one slot; returns all that it printed."""
    asked = ("--proposer", "steps", "--slots", "1")
    done = project.looper("run", str(project.target), *asked, *args, status=status, cwd=cwd)
    return done.stdout + done.stderr


def head(project: Scripted) -> str:
    champion = project.record().champion
    assert champion is not None
    return champion.head


def branch(project: Scripted, name: str = "looper/bowl") -> str:
    return project.git("rev-parse", name).strip()


# -- the same session, another session ------------------------------------------------------------------------


def test_a_second_run_goes_on(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "2")
    assert "2 experiments so far" in run(project, "--experiments", "1")
    assert [event["event"] for event in project.events()].count("opened") == 2
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "keep"), (3, 1, "keep")]
    assert branch(project) == head(project)


def test_fresh_never_touches_the_old(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    old, commit = project.ledger().read_bytes(), branch(project)
    run(project, "--fresh", "--experiments", "2")
    run(project, "--fresh", "--experiments", "3")
    assert project.ledger().read_bytes() == old
    assert branch(project) == commit
    assert [project.record(f"bowl{suffix}").next_n for suffix in ("", "-2", "-3")] == [2, 3, 4]
    assert branch(project, "looper/bowl-3") != commit


def test_fresh_takes_no_name_that_git_still_knows(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    commit = branch(project)
    subprocess.run(["rm", "-r", str(project.home / ".looper")], check=True)
    said = run(project, "--experiments", "1", status=2)
    assert "looper/bowl" in said
    assert "--fresh" in said
    assert not project.ledger().exists()
    run(project, "--fresh", "--experiments", "1")
    assert branch(project) == commit
    assert project.record("bowl-2").next_n == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--resume",), "no session 'bowl' to resume"),
        (("--resume", "--tag", "other"), "no session 'other' to resume"),
        (("--fresh", "--resume"), "give one of them"),
        (("--tag", "../up"), "'../up' cannot be a tag"),
        (("--tag", "a..b"), "cannot be a tag"),
        (("--tag", "a.lock"), "cannot be a tag"),
        (("--proposer", "nobody"), "no proposer 'nobody'"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    project = Scripted(tmp_path)
    assert said in run(project, *args, status=2)
    assert not list(project.home.glob(".looper/*/ledger.jsonl"))
    assert project.git("status", "--porcelain") == ""
    assert project.git("for-each-ref").count("\n") == 1


def test_two_at_once_on_one_tag(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"after": 99}])
    first = project.start_run("--slots", "1", stdout=subprocess.DEVNULL)
    project.wait_for("proposed", 2)
    assert f"in use by process {first.pid}" in run(project, status=2)
    first.kill()
    first.wait()


def test_what_cannot_be_compared_is_not_resumed(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    before = project.ledger().read_bytes()
    for path, old, new, named in (
        ("evaluate.py", "report(loss=", "report(loss=1 + ", "the locked file evaluate.py was changed"),
        ("target.py", "run_s=20", "run_s=21", "budget: run_s: it was 20, now it is 21"),
        ("target.py", '"ended": str(ENDED)', '"ended": str(ENDED), "level": 3', "settings: level"),
        ("target.py", "min_delta=0.5", "min_delta=0.4", "metric: min_delta: it was 0.5, now it is 0.4"),
    ):
        text = (project.target / path).read_text()
        project.edit(path, old, new)
        said = run(project, "--experiments", "1", status=2)
        assert named in said
        assert "--fresh" in said
        assert project.ledger().read_bytes() == before
        project.write(path, text)
    run(project, "--experiments", "1")
    assert project.record().next_n == 3


def test_other_inputs_are_not_resumed(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    corpus = tmp_path / "corpus"
    corpus.write_text("one")
    project.edit("target.py", "class Script(", f"@looper.hookimpl\ndef looper_prepare():\n"
                 f'    return {{"corpus": Path({str(corpus)!r}).read_text()}}\n\n\nclass Script(')  # fmt: skip
    run(project, "--experiments", "1")
    corpus.write_text("two")
    assert "facts: corpus: it was one, now it is two" in run(project, "--experiments", "1", status=2)


def test_files_beside_the_locked_ones_may_change(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    project.write("program.md", "Other words.\n")
    project.write("point.txt", "a=1\nafter=\nb=1\n")
    run(project, "--experiments", "1")
    assert project.point() == POINT.replace("a=10", "a=8")


def test_a_target_that_was_moved_within_its_repository(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    project.git("mv", "bowl", "moved")
    asked = ("--proposer", "steps", "--slots", "1", "--experiments", "1")
    done = project.looper("run", "moved", *asked, status=2)
    assert "the folder was moved or renamed" in done.stderr
    assert project.record().closed.startswith("failed: The session's champion")
    project.git("mv", "moved", "bowl")
    run(project, "--experiments", "1")
    assert project.record().next_n == 3


# -- the branch -----------------------------------------------------------------------------------------------


def test_a_branch_that_was_deleted_is_put_back(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "2")
    project.git("branch", "-D", "looper/bowl")
    project.git("reflog", "expire", "--expire=now", "--all")
    project.git("gc", "--prune=now", "--quiet")
    assert "The branch looper/bowl was gone; it is back." in run(project, "--experiments", "1")
    assert project.verdicts()[-1] == (3, 1, "keep")
    assert branch(project) == head(project)


def test_a_branch_that_was_moved_is_left_alone_and_named(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "2")
    wanted = branch(project)
    project.git("branch", "-f", "looper/bowl", project.git("commit-tree", "main^{tree}", "-m", "mine").strip())
    moved = branch(project)
    said = run(project, "--experiments", "1", status=2)
    assert f"looper/bowl is on {moved[:12]}, the ledger's champion is {wanted[:12]}" in said
    assert branch(project) == moved
    advice = said.partition("put it back with: ")[2].strip()
    subprocess.run(advice, shell=True, cwd=project.top, check=True)
    assert (branch(project), branch(project, "mine")) == (wanted, moved)
    run(project, "--experiments", "1")
    assert project.record().next_n == 4


def test_a_branch_that_was_set_back_catches_up(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "3")
    wanted = branch(project)
    project.git("branch", "-f", "looper/bowl", f"{wanted}~2")
    assert "was behind" in run(project, "--experiments", "0")
    assert branch(project) == wanted


def test_a_branch_moved_while_looper_runs_does_not_end_the_session(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9, "after": "now"}, {"a": 8}])
    process = project.start_run("--slots", "1", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    project.wait_for("proposed", 2)
    mine = project.git("commit-tree", "main^{tree}", "-m", "mine").strip()
    project.git("branch", "-f", "looper/bowl", mine)
    (tmp_path / "ended" / "now").touch()
    said = process.communicate()[0].decode()
    assert process.returncode == 0
    assert "somebody moved it" in said
    assert branch(project) == mine
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "keep")]
    assert branch(project, "refs/looper/bowl/champion") == head(project)


def test_a_branch_that_is_checked_out_waits_until_it_is_free(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    first = branch(project)
    mine = tmp_path / "mine"
    project.git("worktree", "add", "--quiet", str(mine), "looper/bowl")
    said = run(project, "--experiments", "2")
    assert f"checked out in {mine}" in said
    assert branch(project) == first
    assert project.git("-C", str(mine), "status", "--porcelain") == ""
    assert branch(project, "refs/looper/bowl/champion") == head(project)
    project.git("-C", str(mine), "switch", "--quiet", "--detach")
    run(project, "--experiments", "1")
    assert branch(project) == head(project)
    assert branch(project, "looper/bowl~3") == first


def test_a_branch_named_looper_is_in_the_way(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    project.git("branch", "looper")
    said = run(project, status=2)
    assert "git branch -m looper looper-old" in said
    project.git("branch", "-m", "looper", "looper-old")
    run(project, "--experiments", "1")
    assert branch(project) == head(project)


def test_locks_of_a_git_that_died_with_its_machine_are_removed(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    refs = project.top / ".git" / "refs"
    locks = [refs / "heads/looper/bowl.lock", refs / "looper/bowl/tried/2.lock", refs / "looper/bowl/champion.lock"]
    other = refs / "heads/main.lock"
    for lock in (*locks, other):
        lock.touch()
        os.utime(lock, (1e9, 1e9))
    run(project, "--experiments", "1")
    assert project.record().next_n == 3
    assert [lock.exists() for lock in (*locks, other)] == [False, False, False, True]


def test_a_champion_that_is_not_in_the_repository(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    clone = tmp_path / "clone"
    project.git("clone", "--quiet", "--no-local", "--single-branch", str(project.top), str(clone))
    subprocess.run(["cp", "-r", str(project.home / ".looper"), str(clone)], check=True)
    command = [*COMMAND, "run", "bowl", "--proposer", "steps"]
    done = subprocess.run(command, cwd=clone, env=project.environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert f"The champion's commit {head(project)[:12]} is not in the repository" in done.stderr


# -- the disk -------------------------------------------------------------------------------------------------


def test_folders_that_vanish_are_made_again(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9, "after": "now"}, {"a": 8}, {"a": 7}])
    slots = project.home / ".looper" / "bowl" / "slots"
    process = project.start_run("--slots", "1", stdout=subprocess.DEVNULL)
    project.wait_for("proposed", 2)
    subprocess.run(["rm", "-r", str(slots)], check=True)
    (tmp_path / "ended" / "now").touch()
    assert process.wait() == 0
    assert [verdict for _, _, verdict in project.verdicts()] == ["keep", "keep", "keep"]
    assert [e["facts"]["reruns"] for e in project.events() if e["event"] == "measured"] == [0, 1, 0, 0]
    assert not slots.exists()


def in_namespace(project: Scripted, mount: str) -> subprocess.CompletedProcess[str]:
    """Run looper where ``.looper`` is something else, seen by it alone."""
    looper = project.home / ".looper"
    command = ["unshare", "-rm", "sh", "-c", f'{mount} && "$@"', "sh", *COMMAND, "run", str(project.target)]
    if subprocess.run(["unshare", "-rm", "sh", "-c", f"mount -t tmpfs none {looper}"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount in a namespace of their own")
    asked = ("--proposer", "steps", "--slots", "1")
    env = project.environment()
    return subprocess.run([*command, *asked], cwd=project.top, env=env, capture_output=True, text=True)


def test_a_full_disk(tmp_path: Path) -> None:
    project = Scripted(tmp_path)
    project.edit("target.py", "MOVES = []", 'MOVES = [{"a": 9 - n / 1000, "_": "x" * 3000} for n in range(200)]')
    looper = project.home / ".looper"
    looper.mkdir()
    kept = tmp_path / "kept"
    small = f"mount -t tmpfs -o size=200k none {looper}"
    done = in_namespace(project, f"{small} && trap 'cp -r {looper} {kept}' EXIT")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    subprocess.run(["cp", "-r", f"{kept}/.", str(looper)], check=True)
    before = project.record()
    assert 10 < before.next_n < 100
    run(project, "--experiments", "1")
    assert project.record().next_n == before.next_n + 1
    assert branch(project) == head(project)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    run(project, "--experiments", "1")
    looper = project.home / ".looper"
    before = project.ledger().read_bytes()
    done = in_namespace(project, f"mount --bind {looper} {looper} && mount -o remount,bind,ro {looper}")
    assert done.returncode == 2
    assert "Read-only file system" in done.stderr
    assert str(looper) in done.stderr
    assert "Traceback" not in done.stderr
    assert project.ledger().read_bytes() == before
