"""The same tests where looper has fewer rights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from looper.sandbox import bwrap
from tests.modes import no_namespaces, open_folder, ordinary_user

__all__ = ["open_folder"]
ROOT = Path(__file__).parents[2]
NAMESPACES = ["bwrap", "native"] if bwrap.program() else ["native"]
MODES = pytest.mark.parametrize("mode", [no_namespaces, ordinary_user], ids=["no namespaces", "ordinary user"])
Mode = Callable[[], list[str]]


@MODES
def test_what_works(mode: Mode) -> None:
    done = run([*mode(), sys.executable, "-c", "from tests.measuring import backends; print(*backends())"], "/tmp")
    expected = ["landlock", "process"] if mode is no_namespaces else [*NAMESPACES, "landlock", "process"]
    assert done.stdout.split() == expected


@MODES
def test_workers(mode: Mode, open_folder: Path) -> None:
    tests = [str(ROOT / "tests" / "sandbox" / name) for name in ("test_kill.py", "test_worker.py")]
    command = [*mode(), sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = run(command, str(open_folder))
    assert done.returncode == 0, done.stdout + done.stderr


def run(command: list[str], temporary: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": temporary}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
