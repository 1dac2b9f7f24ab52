"""What scores rest on, changed while they are made: the target's files, and what evaluators run from."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
import sysconfig
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from tests.scripted import Scripted

EVALUATE = """\
import ruler
from ruler.inner import ONE

from helper import SCALE


def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        answer = solution.call("answer")
    run.report(loss=answer * SCALE * ruler.SIZE * ONE)
"""
#: A candidate that scores 5 and does something on the way.
CANDIDATE = """\
import os
def answer():
    {}
    return 5.0
"""


class Workshop(Scripted):
    """A target with a locked helper, and an interpreter with an installed package of its own to tamper with."""

    def __init__(self, folder: Path, *deeds: str) -> None:
        self.venv = folder / "venv"
        moves = [{"files": {"solution.py": CANDIDATE.format(self.filled(deed, folder))}} for deed in deeds]
        super().__init__(folder, moves)
        (self.target / "point.txt").unlink()
        self.edit("target.py", '"point.txt",', '"solution.py",')
        self.write("evaluate.py", EVALUATE)
        self.write("helper.py", "SCALE = 1.0\n")
        self.write("solution.py", "def answer():\n    return 9.0\n")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self.venv)], check=True)
        self.packages = self.venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        (self.packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.package = self.packages / "ruler"
        self.package.mkdir()
        (self.package / "__init__.py").write_text("SIZE = 1.0\n")
        (self.package / "inner.py").write_text("ONE = 1.0\n")

    @staticmethod
    def filled(deed: str, folder: Path) -> str:
        """A deed with the places that it needs to know."""
        packages = folder / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        slot = folder / "repo" / ".looper" / "bowl" / "slots" / "0" / "target"
        return deed.replace("PACKAGES", str(packages)).replace("SLOT", str(slot))

    def call(self, *args: str, status: int, **env: str) -> str:
        """Run looper with the workshop's own interpreter; returns what it says."""
        command = [str(self.venv / "bin" / "python"), "-c", "from looper.cli import main; main()", *args]
        given = self.environment(**env)
        done = subprocess.run(command, cwd=self.top, env=given, capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def session(self, status: int, **env: str) -> str:
        unconfined = ("--unsafe-no-sandbox", "--slots", "1")
        return self.call("run", "bowl", "--proposer", "steps", *unconfined, status=status, **env)


# -- the target's files ---------------------------------------------------------------------------------------


def test_a_changed_locked_file_ends_the_session_and_the_same_command_goes_on(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, "open('SLOT/helper.py', 'a').write('SCALE = 0.0\\n')", "pass")
    said = workshop.session(status=2)
    assert "were changed while experiment 1 was measured. Its score was not taken." in said
    assert "helper.py: was 12 bytes with SHA-256 " in said
    assert "; is 24 bytes with SHA-256 " in said
    assert "`looper show 1` and `looper diff 1`" in said
    measured = [event for event in workshop.events() if event["event"] == "measured"][-1]
    assert (measured["status"], measured["metrics"]) == ("tampered", {})
    assert workshop.verdicts() == [(1, 1, "invalid")]
    assert workshop.events()[-1]["reason"].startswith("failed: Files that scores rest on were changed")
    assert "tampered" in workshop.call("show", "1", status=0)
    workshop.session(status=0)
    assert workshop.verdicts() == [(1, 1, "invalid"), (2, 1, "keep")]
    assert workshop.record().champion.metrics == {"loss": 5.0}  # type: ignore[union-attr]


def test_a_baseline_that_changes_its_target(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    workshop.write("solution.py", CANDIDATE.format(workshop.filled("os.remove('SLOT/helper.py')", tmp_path)))
    assert "helper.py: was 12 bytes with SHA-256 " in (said := workshop.session(status=2))
    assert "; is gone" in said
    assert workshop.record().champion is None


def test_check_tells_of_it_and_measures_nothing_more(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path)
    deed = "[open(path, 'a').write('#') for path in glob.glob('/**/slots/0/target/helper.py', root_dir=None)]"
    deed = deed.replace("'/**", f"'{workshop.scratch}/*")
    workshop.write("wrong/a.py", f"import glob\n{CANDIDATE.format(deed)}")
    workshop.write("wrong/b.py", CANDIDATE.format("raise ValueError"))
    said = workshop.call("check", "bowl", "--unsafe-no-sandbox", "--slots", "1", status=1)
    assert "TAMPERED     wrong/a.py  tampered: helper.py: was 12 bytes" in said
    assert "wrong/b.py" not in said
    assert said.splitlines()[-1].startswith("wrong/a.py changed files that scores rest on.")


# -- what evaluators run from ---------------------------------------------------------------------------------

DEEDS = {
    "a package": ("open('PACKAGES/ruler/__init__.py', 'a').write('SIZE = 0.0\\n')", "ruler/__init__.py: had 11 bytes"),
    "a module inside it": (
        "open('PACKAGES/ruler/inner.py', 'a').write('ONE = 0.0\\n')",
        "ruler/inner.py: had 10 bytes",
    ),
    "a new package": ("os.mkdir('PACKAGES/helper')", "site-packages/helper: is new"),
    "what runs at Python's start": (
        "open('PACKAGES/new.pth', 'w').write('import os')",
        "site-packages/new.pth: is new",
    ),
}


@pytest.mark.parametrize("what", DEEDS)
def test_a_changed_environment_ends_the_session(tmp_path: Path, what: str) -> None:
    deed, told = DEEDS[what]
    workshop = Workshop(tmp_path, deed)
    said = workshop.session(status=2)
    assert told in said
    assert "start a new session with --fresh" in said
    champion = workshop.record().champion
    assert champion is not None
    assert workshop.events()[-1]["event"] == "closed"


def test_nothing_is_measured_once_something_was_installed(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, "pass")
    install = f"open({str(workshop.packages / 'new.py')!r}, 'w').close()"
    workshop.edit("target.py", "        n = max(", f"        {install}\n        n = max(")
    said = workshop.session(status=2)
    assert "was changed since this command began" in said
    assert "new.py: is new" in said
    assert [event["n"] for event in workshop.events() if event["event"] == "measured"] == [0]
    workshop.session(status=2)  # it goes on with what was proposed, and the next proposal installs again
    assert workshop.verdicts() == [(1, 1, "keep")]


# -- compiled files -------------------------------------------------------------------------------------------


def poison(source: Path, text: str) -> None:
    """Leave a compiled file of another text that looks like that of ``source``: same time, same size."""
    good = source.read_text()
    assert len(text) == len(good)
    times = source.stat().st_atime_ns, source.stat().st_mtime_ns
    source.write_text(text)
    os.utime(source, ns=times)
    py_compile.compile(str(source), cache_from_source(str(source)))
    source.write_text(good)
    os.utime(source, ns=times)


def test_poisoned_compiled_files_have_no_effect(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, "pass")
    poison(workshop.package / "__init__.py", "SIZE = 0.1\n")
    poison(workshop.target / "helper.py", "SCALE = 0.1\n")
    python = [str(workshop.venv / "bin" / "python"), "-c", "import ruler, helper; print(ruler.SIZE, helper.SCALE)"]
    poisoned = subprocess.run(python, cwd=workshop.target, capture_output=True, text=True, check=True)
    assert poisoned.stdout == "0.1 0.1\n"
    workshop.session(status=0)
    assert [kept.metrics["loss"] for kept in workshop.record().kept()] == [9.0, 5.0]


@pytest.mark.parametrize("how", ["open to others", "a link", "somebody else's", "impossible"])
def test_a_folder_for_compiled_files_that_is_not_private_is_not_used(tmp_path: Path, how: str) -> None:
    workshop = Workshop(tmp_path)
    cache = tmp_path / "cache"
    workshop.session(status=0, LOOPER_CACHE=str(cache))
    (folder,) = (cache / "looper" / "pycache").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.rglob("*.pyc"))) > 10
    aside = folder.rename(tmp_path / "aside")
    aside.chmod(0o755)
    if how == "a link":
        folder.symlink_to(aside)
    elif how == "impossible":
        folder.parent.rmdir()
        folder.parent.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o777)
        if how == "somebody else's":
            if os.geteuid() != 0:
                pytest.skip("only root can give a folder away")
            os.chown(folder, 1234, 1234)
            folder.chmod(0o700)
    before = {path: path.stat().st_mtime_ns for path in aside.rglob("*")}
    workshop.session(status=0, LOOPER_CACHE=str(cache))
    assert {path: path.stat().st_mtime_ns for path in aside.rglob("*")} == before
    if folder.is_dir() and not folder.is_symlink():
        assert list(folder.iterdir()) == []
    assert list(workshop.scratch.iterdir()) == []
