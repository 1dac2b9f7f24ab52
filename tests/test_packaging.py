"""What is installed, and the one line that a machine gets on which it cannot be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import looper

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}

OLD_PYTHON = """\
#!/bin/sh
# Answers as Python 3.9 does to the two questions that need an answer.
case "$2" in
*'>= (3, 11)'*) echo ;;
*) echo 3.9 ;;
esac
"""


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


class Machine:
    """A copy of what ``make`` reads, on a search path that holds only the programs named."""

    def __init__(self, folder: Path, *programs: str) -> None:
        self.folder, self.bin = folder / "clone", folder / "bin"
        self.bin.mkdir(parents=True)
        self.folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder)
        for name in ("sh", "touch", *programs):
            self.program(name, shutil.which(name))

    def program(self, name: str, real: str | None) -> None:
        assert real is not None, f"{name} is needed by this test"
        (self.bin / name).symlink_to(real)

    def script(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def make(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        make = shutil.which("make")
        assert make is not None
        return subprocess.run(
            [make, *arguments],
            cwd=self.folder,
            env={"PATH": str(self.bin), **env},
            capture_output=True,
            text=True,
        )

    def refusal(self, *arguments: str, **env: str) -> str:
        """The one line that a ``make`` prints which does nothing else."""
        answer = self.make(*arguments, **env)
        assert answer.returncode == 2
        assert answer.stdout == ""
        assert not (self.folder / ".venv").exists()
        (line,) = answer.stderr.splitlines()
        return line


@pytest.mark.parametrize("goal", ["run", "test", "lint"])
def test_no_python(tmp_path: Path, goal: str) -> None:
    line = Machine(tmp_path, "git").refusal(goal)
    assert "needs Python 3.11 or newer and 'python3' does not run here" in line


def test_old_python(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "git")
    machine.script("python3", OLD_PYTHON)
    assert "needs Python 3.11 or newer and 'python3' is 3.9" in machine.refusal("run")


def test_python_without_ensurepip(tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError('No module named ensurepip')\n")
    line = Machine(tmp_path, "git").refusal("run", f"PYTHON={sys.executable}", PYTHONPATH=str(tmp_path))
    assert "ensurepip" in line
    assert "apt install python3-venv" in line


def test_no_git(tmp_path: Path) -> None:
    line = Machine(tmp_path).refusal("test", f"PYTHON={sys.executable}")
    assert "needs git" in line
    assert "apt install git" in line


def test_second_call_installs_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (machine.folder / ".venv").mkdir()
    (machine.folder / ".venv" / ".installed").touch()
    answer = machine.make("--dry-run", "run")
    assert answer.stdout == ".venv/bin/looper run targets/nanogpt --experiments 6\n"


def test_changed_dependencies_install_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "git")
    stamp = machine.folder / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    os.utime(stamp, (0, 0))
    assert "pip install -c constraints.txt" in machine.make("-n", "run", f"PYTHON={sys.executable}").stdout


@pytest.mark.slow
def test_half_made_environment_is_made_anew(tmp_path: Path) -> None:
    """The first pip call fails, for want of a package index; what counts is that there is a pip to call."""
    machine = Machine(tmp_path, "git")
    (machine.folder / ".venv" / "bin").mkdir(parents=True)
    (machine.folder / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    answer = machine.make("run", f"PYTHON={sys.executable}", PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert answer.returncode == 2
    assert "No matching distribution found" in answer.stderr
    assert not (machine.folder / ".venv" / ".installed").exists()


def test_constraints_pin_the_build_that_was_tested() -> None:
    assert (pins()["torch"], pins()["triton"]) == ("2.13.0", "3.7.1")
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins().values())  # no local versions


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    core = [Requirement(line) for line in PROJECT["dependencies"]]
    for requirement in [*core, *EXTRAS["nanogpt"], *EXTRAS["search"], *EXTRAS["dev"]]:
        pin = pins()[canonicalize_name(requirement.name)]
        assert pin in requirement.specifier, requirement


@pytest.mark.parametrize("version", ["1.82.7", "1.82.8"])
def test_compromised_releases_of_litellm_are_excluded(version: str) -> None:
    (litellm,) = EXTRAS["llm"]
    assert version not in litellm.specifier
    assert "1.82.6" in litellm.specifier


def test_package_is_typed() -> None:
    assert Path(looper.__file__).with_name("py.typed").is_file()


def command(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The installed command, run by this interpreter."""
    program = Path(sys.executable).with_name("looper")
    line = [sys.executable, *python, str(program), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True)


def test_command_tells_its_version() -> None:
    assert command("--version").stdout.split()[-1] == looper.__version__


def test_help_loads_nothing_heavy() -> None:
    told = command("--help", python=("-X", "importtime")).stderr.splitlines()
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in told if line.startswith("import time:")}
    assert "looper" in loaded
    assert not loaded & {"torch", "optuna", "litellm", "matplotlib", "numpy", "pyarrow"}
