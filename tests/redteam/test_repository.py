"""Attacks on the target's folder: what is proposed for it, what lies there, what is declared of it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.redteam.repository import MIB, run, users_own
from tests.scripted import POINT, Scripted

# -- proposals ----------------------------------------------------------------------------------------------------

PROPOSED: dict[str, tuple[dict[str, Any], str]] = {
    "above the folder": ({"../point.txt": "a"}, "'../point.txt'"),
    "absolute": ({"/etc/cron.d/looper": "a"}, "'/etc/cron.d/looper'"),
    "by a detour": ({"deep/../point.txt": "a"}, "'deep/../point.txt'"),
    "with a dot": ({"./point.txt": "a"}, "'./point.txt'"),
    "with two slashes": ({".//point.txt": "a"}, "'.//point.txt'"),
    "with a backslash": ({"..\\point.txt": "a"}, r"'..\\point.txt'"),
    "empty": ({"": "a"}, "''"),
    "git's hook": ({".git/hooks/post-checkout": "a"}, "'.git/hooks/post-checkout'"),
    "git's folder in capitals": ({".GIT/config": "a"}, "'.GIT/config'"),
    "git's attributes": ({".gitattributes": "* filter=x"}, "'.gitattributes'"),
    "zero width": ({"point\u200b.txt": "a"}, r"'point\u200b.txt'"),
    "read backwards": ({"\u202etxt.tniop": "a"}, r"'\u202etxt.tniop'"),
    "other case": ({"Point.txt": "a"}, "'Point.txt'"),
    "another alphabet": ({"p\u043eint.txt": "a"}, r"'p\u043eint.txt'"),
    "trailing space": ({"point.txt ": "a"}, "'point.txt '"),
    "terminal commands": ({"\x1b[2Jpoint.txt": "a"}, r"'\x1b[2Jpoint.txt'"),
    "line feed": ({"point.txt\nD bowl/evaluate.py": "a"}, r"'point.txt\nD bowl/evaluate.py'"),
    "the evaluator": ({"evaluate.py": "a"}, "'evaluate.py'"),
    "the target": ({"target.py": "a"}, "'target.py'"),
    "the ledger": ({"../.looper/bowl/ledger.jsonl": "a"}, "ledger.jsonl'"),
    "an endless name": ({"x" * 5000: "a"}, "xxx..."),
    "too large": ({"point.txt": "x" * MIB + "x"}, "1048577 bytes long (the limit is 1048576)"),
    "a null character": ({"point.txt": "a=1\0"}, "null character into point.txt"),
    "half a character": ({"point.txt": "\udcff"}, "not Unicode text"),
    "bytes": ({"point.txt": b"a=1"}, "gives a bytes for point.txt"),
}


@pytest.fixture(scope="module")
def proposed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scripted, dict[str, str]]:
    """A session in which all of them were proposed, and what was the user's before it."""
    moves: list[dict[str, Any]] = []
    for n, (files, _) in enumerate(PROPOSED.values()):
        moves += [{"files": files}, {"a": 100 + n}]  # a session ends by itself after many that were no candidates
    project = Scripted(tmp_path_factory.mktemp("proposed"), moves)
    before = users_own(project)
    done = run(project, "--experiments", str(len(moves)))
    assert done.returncode == 0, done.stderr
    return project, before


@pytest.mark.parametrize("attack", PROPOSED)
def test_a_proposal_that_names_or_holds(proposed: tuple[Scripted, dict[str, str]], attack: str) -> None:
    project, before = proposed
    n = 1 + 2 * list(PROPOSED).index(attack)
    experiment = next(each for each in project.record().history if each.n == n)
    assert experiment.verdict == "invalid"
    assert PROPOSED[attack][1] in experiment.reason
    assert experiment.reason.isprintable()
    assert len(experiment.reason) < 300
    base = project.record().opened["base"]
    assert project.git("diff", "--name-only", base, experiment.commit) == ""
    assert users_own(project) == before


# -- what lies in the target's folder -----------------------------------------------------------------------------


def deep(project: Scripted) -> None:
    """The editable file in a folder of its own."""
    project.edit("target.py", '("point.txt",)', '("deep/point.txt",)')
    project.write("deep/point.txt", POINT)
    if (project.top / ".git").exists():
        project.commit("Deep")


def instead(name: str, put: Callable[[Path], object], says: str) -> Callable[[Scripted], str]:
    """Put something in place of a file, which stays where git knows it."""

    def place(project: Scripted) -> str:
        path = project.target / name
        path.unlink(missing_ok=True)
        put(path)
        return says

    return place


def named(*names: str, says: str) -> Callable[[Scripted], str]:
    def place(project: Scripted) -> str:
        for name in names:
            project.write(name, "x\n")
        return says

    return place


def outside(path: Path) -> Path:
    file = path.parents[2] / "outside.txt"
    file.write_text(POINT)
    return file


def sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def link_on_the_way(project: Scripted) -> str:
    deep(project)
    (project.target / "deep").rename(project.top.parent / "elsewhere")
    (project.target / "deep").symlink_to(project.top.parent / "elsewhere")
    return "bowl/deep"


def many_sparse_files(project: Scripted) -> str:
    for n in range(5):
        sparse(project.target / f"{n}.bin", 63 * MIB)
    return "more than 256 MiB"


PLACED: dict[str, Callable[[Scripted], str]] = {
    "link as editable": instead("point.txt", lambda p: p.symlink_to(outside(p)), "point.txt is not a plain file"),
    "link as evaluator": instead("evaluate.py", lambda p: p.symlink_to(outside(p)), "evaluate.py is not a plain file"),
    "link to the keys": instead("program.md", lambda p: p.symlink_to("/etc/shadow"), "program.md is not a plain file"),
    "link on the way": link_on_the_way,
    "hard link as editable": instead("point.txt", lambda p: p.hardlink_to(outside(p)), "point.txt is hard-linked"),
    "hard link as evaluator": instead("evaluate.py", lambda p: p.hardlink_to(outside(p)), "evaluate.py is hard-linked"),
    "pipe as editable": instead("point.txt", os.mkfifo, "has no file point.txt"),
    "pipe as locked file": instead("program.md", os.mkfifo, "program.md is not a plain file"),
    "folder as editable": instead("point.txt", Path.mkdir, "has no file point.txt"),
    "1 TiB of nothing as editable": instead("point.txt", lambda p: sparse(p, 1 << 40), "point.txt has 1048576 MiB"),
    "1 TiB of nothing beside": instead("data.bin", lambda p: sparse(p, 1 << 40), "data.bin has 1048576 MiB"),
    "many of 63 MiB": many_sparse_files,
    "editable too large": instead("point.txt", lambda p: sparse(p, MIB + 1), "puts a null character into point.txt"),
    "editable too long": instead("point.txt", lambda p: p.write_text("#" * MIB + "#"), "makes point.txt 1048577 bytes"),
    "git's folder in capitals": named(".GIT/config", says="'.GIT/config'"),
    "git's folder as Windows calls it": named("git~1/config", says="'git~1/config'"),
    "git's folder with a dot": named(".git./config", says="'.git./config'"),
    "git's folder, full width": named("\uff0egit/config", says=r"'\uff0egit/config'"),
    "zero width": named("point\u200b.txt", says=r"'point\u200b.txt'"),
    "read backwards": named("\u202etxt.py", says=r"'\u202etxt.py'"),
    "terminal commands": named("\x1b[2J.txt", says=r"'\x1b[2J.txt'"),
    "line feed": named("a\nb.txt", says=r"'a\nb.txt'"),
    "not UTF-8": named(os.fsdecode(b"\xff.txt"), says=r"'\udcff.txt'"),
    "other case": named("Point.txt", says="'Point.txt' and 'point.txt'"),
    "composed and not": named(
        "\u00e9.txt", unicodedata.normalize("NFD", "\u00e9.txt"), says=r"'e\u0301.txt' and '\xe9.txt'"
    ),
    "invisible in one": named("point.txt\ufe0f", says=r"'point.txt' and 'point.txt\ufe0f'"),
    "folders of other case": named("Deep/one.py", "deep/two.py", says="'Deep' and 'deep'"),
}


@pytest.mark.parametrize("in_git", [True, False], ids=["git", "no-git"])
@pytest.mark.parametrize("attack", PLACED)
def test_in_the_folder_lies(tmp_path: Path, attack: str, in_git: bool) -> None:
    project = Scripted(tmp_path, [{"a": 9}], in_git=in_git)
    says = PLACED[attack](project)
    before = users_own(project)
    done = run(project)
    assert done.returncode == 2
    assert says in done.stderr
    assert users_own(project) == before
    assert not project.events()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_in_the_folder_lies_a_device(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9}])
    (project.target / "program.md").unlink()
    os.mknod(project.target / "program.md", 0o20666, os.makedev(1, 5))  # /dev/zero
    done = run(project)
    assert done.returncode == 2
    assert "program.md is not a plain file" in done.stderr


def test_honest_folders_run(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9}])
    (tmp_path / "data").mkdir()
    (project.target / "data").symlink_to(tmp_path / "data")
    sparse(project.target / "cache.bin", 1 << 40)
    project.write(".gitignore", "/data\n/cache.bin\n")
    (tmp_path / "short").symlink_to(project.target)  # the target's folder itself by another name
    done = project.looper("run", str(tmp_path / "short"), "--proposer", "steps", "--experiments", "1", status=0)
    assert project.verdicts() == [(1, 1, "keep")], done.stdout


DECLARED = {
    "absolute": ("/etc/passwd", "no plain path"), "above": ("../point.txt", "no plain path"),
    "with a dot": ("./point.txt", "no plain path"), "with two slashes": ("deep//point.txt", "no plain path"),
    "a folder": ("deep/", "no plain path"), "empty": ("", "no plain path"),
    "backslash": (r"deep\point.txt", "backslash"),
    "git's configuration": (".git/config", "git's own folder"), "in capitals": (".Git/config", "git's own folder"),
    "git's attributes": (".gitattributes", "is git's"), "looper's": (".looper/bowl/ledger.jsonl", "looper's"),
    "bytecode": ("__pycache__/point.cpython-311.pyc", "cache"), "zero width": ("poi\u200dnt.txt", "invisible"),
    "the evaluator": ("evaluate.py", "cannot be editable"), "the target": ("target.py", "cannot be editable"),
    "the program": ("program.md", "cannot be editable"), "twice": ("point.txt", "twice"),
    "a twin": ("Point.txt", "taken for one"),
}  # fmt: skip


@pytest.mark.parametrize("attack", DECLARED)
def test_a_target_declares(tmp_path: Path, attack: str) -> None:
    name, says = DECLARED[attack]
    project = Scripted(tmp_path)
    project.edit("target.py", '("point.txt",)', f'("point.txt", {name!r})')
    before = users_own(project)
    done = run(project)
    assert done.returncode == 2
    assert says in done.stderr
    assert ascii(name) in done.stderr or name in ("evaluate.py", "target.py", "program.md")
    assert users_own(project) == before
