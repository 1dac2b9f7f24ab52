"""Attacks with names that lead elsewhere: what looper would write to, read from, or wait for through them."""

from __future__ import annotations

import os
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.redteam.repository import plain_git, run, told, users_own
from tests.scripted import POINT, Scripted


def candidates_name(project: Scripted) -> str:
    project.git("symbolic-ref", "refs/looper/bowl/tried/1", "refs/heads/main")
    return "refs/looper/bowl/tried/1 is not a name of its own, it leads to refs/heads/main"


def branchs_name(project: Scripted) -> str:
    project.git("symbolic-ref", "refs/heads/looper/bowl", "refs/heads/main")
    return "refs/heads/looper/bowl is not a name of its own, it leads to refs/heads/main"


def folder_of_names(project: Scripted) -> str:
    (project.top / ".git" / "refs" / "looper" / "bowl").mkdir(parents=True)
    (project.top / ".git" / "refs" / "looper" / "bowl" / "tried").symlink_to("../../heads")
    return "tried is a link"


def folder_of_locks(project: Scripted) -> str:
    """Where old locks are removed: the user's own files of that name."""
    lock = project.top.parent / "poetry.lock"
    lock.touch()
    os.utime(lock, (time.time() - 1000,) * 2)
    (project.top / ".git" / "refs" / "looper").mkdir()
    (project.top / ".git" / "refs" / "looper" / "bowl").symlink_to(lock.parent)
    return "bowl is a link"


def ignore_file(project: Scripted) -> str:
    (project.top / ".looper").mkdir()
    (project.top / ".looper" / ".gitignore").symlink_to(project.target / "program.md")
    return ".gitignore is a link"


def loopers_folder(project: Scripted) -> str:
    (project.top / ".looper").symlink_to(project.target)
    return ".looper is a link"


def sessions_folder(project: Scripted) -> str:
    (project.top / ".looper").mkdir()
    (project.top / ".looper" / "bowl").symlink_to(project.target)
    return "bowl is a link"


def lock_file(project: Scripted) -> str:
    (project.top / ".looper" / "bowl").mkdir(parents=True)
    (project.top / ".looper" / "bowl" / "lock").symlink_to(project.target / "program.md")
    return "lock is a link"


def ledger_file(project: Scripted) -> str:
    (project.top / ".looper" / "bowl").mkdir(parents=True)
    (project.top / ".looper" / "bowl" / "ledger.jsonl").symlink_to(project.target / "program.md")
    return "ledger.jsonl is a link"


def waiting_ignore_file(project: Scripted) -> str:
    os.mkfifo(project.top / ".gitignore")
    return ".gitignore is not a plain file"


def repository_in_the_target(project: Scripted) -> str:
    subprocess.run(["git", "init", "--quiet", str(project.target / "inner")], check=True)
    return "inner is a repository of its own"


LEADING: list[Callable[[Scripted], str]] = [
    candidates_name, branchs_name, folder_of_names, folder_of_locks, ignore_file, loopers_folder, sessions_folder,
    lock_file, ledger_file, waiting_ignore_file, repository_in_the_target,
]  # fmt: skip


@pytest.mark.parametrize("attack", LEADING, ids=lambda attack: attack.__name__)
def test_nothing_is_written_or_waited_for_through_the(tmp_path: Path, attack: Callable[[Scripted], str]) -> None:
    project = told(tmp_path)
    says = attack(project)
    before = users_own(project)
    locks = list(tmp_path.glob("*.lock"))
    done = run(project)
    assert done.returncode == 2
    assert says in done.stderr
    assert users_own(project) == before
    assert list(tmp_path.glob("*.lock")) == locks


def test_a_loose_object_that_was_exchanged(tmp_path: Path) -> None:
    project = told(tmp_path)
    assert run(project).returncode == 0
    blob = plain_git(project, "rev-parse", "looper/bowl:bowl/point.txt").decode().strip()
    data = POINT.replace("a=10", "a=0").encode()
    file = project.top / ".git" / "objects" / blob[:2] / blob[2:]
    file.chmod(0o644)
    file.write_bytes(zlib.compress(b"blob %d\0" % len(data) + data))
    done = run(project)
    assert done.returncode == 2
    assert f"The object {blob[:12]}, point.txt of the commit" in done.stderr
    assert project.record().next_n == 3


def test_a_file_that_is_a_link_in_the_commit_alone(tmp_path: Path) -> None:
    """Checked out, the champion's file would be a link to what its text names, and no longer what was evaluated."""
    project = told(tmp_path)
    (project.target / "point.txt").unlink()
    (project.target / "point.txt").symlink_to(POINT)  # a link's blob is the path that it leads to
    project.commit("A link")
    (project.target / "point.txt").unlink()
    project.write("point.txt", POINT)
    before = users_own(project)
    assert run(project).returncode == 0
    assert users_own(project) == before
    for commit in (project.record().opened["base"], "looper/bowl"):
        modes = {line.split()[0] for line in plain_git(project, "ls-tree", "-r", commit).splitlines()}
        assert modes == {b"100644"}
