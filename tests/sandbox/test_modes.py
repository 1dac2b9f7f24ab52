"""The same tests where looper has fewer rights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.modes import no_namespaces, ordinary_user

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("mode", "layers"), [(no_namespaces, "subreaper"), (ordinary_user, "")])
def test_workers(mode: Callable[[], list[str]], layers: str) -> None:
    command = [*mode(), sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not libraries"]
    tests = [str(ROOT / "tests" / "sandbox" / name) for name in ("test_kill.py", "test_worker.py")]
    env = {"PATH": os.environ["PATH"], "EXPECTED_LAYERS": layers, "HOME": "/nonexistent", "TMPDIR": "/tmp"}
    run = subprocess.run([*command, *tests], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
