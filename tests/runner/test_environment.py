"""A change in what evaluators run from is found, and nothing else is taken for one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from looper.runner.environment import Environment
from looper.sandbox import python_code
from tests.measuring import eventually
from tests.projects import ROOT


def rewrite_in_place(root: Path) -> None:
    """Same size, same time of modification."""
    file = root / "pack" / "mod.py"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_text("A = 2\n")
    os.utime(file, ns=times)


def swap_folder(root: Path) -> None:
    """Another folder with the same names in it."""
    (root / "pack").rename(root.parent / "old")
    (root / "pack").mkdir()
    for name in ("__init__.py", "mod.py", "lib.so.1"):
        (root / "pack" / name).write_text("A = 1\n")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "rewritten in place": (rewrite_in_place, "pack/mod.py: had 6 bytes, has 6, was changed at 20"),
    "grown": (lambda root: (root / "pack" / "lib.so.1").write_text("A = 10\n"), "pack/lib.so.1: had 6 bytes, has 7"),
    "removed": (lambda root: (root / "pack" / "mod.py").unlink(), "pack/mod.py: is gone"),
    "a folder swapped": (swap_folder, "pack/mod.py: had 6 bytes, has 6, was changed at 20"),
    "a new module": (lambda root: (root / "pack" / "new.py").touch(), "pack/new.py: is new"),
    "a new compiled module": (lambda root: (root / "new.pyc").touch(), "new.pyc: is new"),
    "a new library": (lambda root: (root / "pack" / "mod.so").touch(), "pack/mod.so: is new"),
    "a new line of the path": (lambda root: (root / "new.pth").touch(), "new.pth: is new"),
    "a new package": (lambda root: (root / "pack" / "inner").mkdir(), "pack/inner: is new"),
    "an archive on the path": (lambda root: (root.parent / "lib.zip").touch(), "lib.zip: is new"),
    "a name that would be obeyed": (lambda root: (root / "\x1b[2Jnew.py").touch(), "/new.py: is new"),
}


def environment_in(folder: Path) -> Environment:
    root = folder / "packages"
    (root / "pack" / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "mod.py", "lib.so.1", "data.json"):
        (root / "pack" / name).write_text("A = 1\n")
    return Environment([str(root)], [str(folder / "lib.zip")])


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_found_by_and_by(tmp_path: Path, what: str) -> None:
    change, told = CHANGES[what]
    environments = environment_in(tmp_path), Environment([str(tmp_path / "packages")], [str(tmp_path / "lib.zip")])
    change(tmp_path / "packages")
    assert any(told in line for line in environments[0].look_everywhere())

    def by_and_by() -> bool:
        environments[1].look_on()
        return any(told in line for line in environments[1].look())

    assert eventually(by_and_by)


def test_what_is_no_change(tmp_path: Path) -> None:
    environment = environment_in(tmp_path)
    pack = tmp_path / "packages" / "pack"
    (pack / "__pycache__" / "mod.cpython-311.pyc").write_text("compiled")
    (tmp_path / "packages" / "__pycache__").mkdir()
    (pack / "data.json").write_text("more")
    (pack / "notes.txt").touch()
    (pack / "mod.py").read_text()
    pack.chmod(0o700)
    assert environment.look_everywhere() == environment.look() == []


def test_many_changes_are_counted(tmp_path: Path) -> None:
    environment = environment_in(tmp_path)
    for n in range(50):
        (tmp_path / "packages" / f"new{n:02}.py").touch()
    told = environment.look_everywhere()
    assert (len(told), told[-1]) == (21, "and 30 more")


def test_what_is_looked_at_holds_what_evaluators_run_from(tmp_path: Path) -> None:
    code = "from looper.runner.environment import of_evaluators; print(*of_evaluators().paths(), sep='\\n')"
    looked_at = set(subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).splitlines())
    used = "import numpy, json, runpy, looper.evaluation.main, looper.evaluation.nursery, _ctypes"
    show = "print(*{m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)}, sep='\\n')"
    loaded = subprocess.check_output(python_code(f"{used}; {show}"), text=True, cwd=tmp_path)
    assert {os.path.realpath(path) for path in loaded.splitlines()} <= looked_at
    assert {sys.executable, os.path.realpath(sys.executable)} <= looked_at
