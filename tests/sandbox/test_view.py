"""What of the host's file system a worker sees: the Python environment, wherever it lies, and nothing beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import looper
from looper.sandbox import BACKENDS, Level
from tests.measuring import backends

ROOT = Path(__file__).parents[2]
CONFINING = [name for name in backends() if BACKENDS[name].level > Level.PROCESS]

LOOK = """
import errno, os, sys
import looper, numpy
def look(paths):
    found = {}
    for path in paths:
        try:
            if os.path.isdir(path):
                found[path] = sorted(os.listdir(path))
            else:
                with open(path) as f: found[path] = f.read()
        except OSError as error:
            found[path] = errno.errorcode[error.errno]
    return found
def environment():
    return [sys.prefix, os.path.dirname(looper.__file__)]
"""
ASK = f"""
import json, sys
from pathlib import Path
sys.path.append({str(ROOT)!r})
from tests.sandbox.workers import worker_of
folder, backend, *paths = sys.argv[1:]
worker = worker_of(Path(folder), {LOOK!r}, backend)
print(json.dumps([worker.call("look", paths), worker.call("environment")]))
worker.close()
"""


def asked(python: Path, folder: Path, backend: str, *paths: Path | str) -> Any:
    """What a worker of that interpreter finds at these paths: text, names or an error; and its environment."""
    command = [str(python), "-c", ASK, str(folder), backend, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def environment_in(folder: Path) -> Path:
    """Make a virtual environment with a looper of its own, which finds the other packages where this one does."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    shutil.copytree(Path(looper.__file__).parent, packages / "looper", ignore=shutil.ignore_patterns("__pycache__"))
    return python


@pytest.fixture
def in_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="looper-test-", dir=Path.home()) as folder:
        yield Path(folder)


def check_only_the_environment_is_shown(backend: str, folder: Path, environment: Path, scratch: Path) -> None:
    python = environment_in(environment)
    beside = environment.parent / "beside.txt"
    inside = environment / "inside.txt"  # a repository can be an environment
    keys = environment / "keys" / "secret.txt"
    keys.parent.mkdir()
    for file in (beside, inside, keys):
        file.write_text("secret")
    found, (prefix, package) = asked(python, scratch, backend, beside, inside, keys, folder, environment)
    assert (prefix, Path(package).parent.name) == (str(environment), "site-packages")
    assert {found[str(file)] for file in (beside, inside, keys)} <= {"ENOENT", "EACCES"}
    if BACKENDS[backend].level >= Level.NAMESPACES:
        assert set(found[str(environment)]) <= {"bin", "lib", "lib64", "include", "pyvenv.cfg"}
        assert found[str(folder)] == [environment.relative_to(folder).parts[0]]


@pytest.mark.parametrize("backend", CONFINING)
def test_an_environment_below_the_folder_for_temporary_files(tmp_path: Path, backend: str) -> None:
    check_only_the_environment_is_shown(backend, tmp_path / "a", tmp_path / "a" / "b" / "env", tmp_path)


@pytest.mark.parametrize("backend", CONFINING)
def test_an_environment_in_a_home_folder(tmp_path: Path, in_home: Path, backend: str) -> None:
    check_only_the_environment_is_shown(backend, in_home, in_home / "env", tmp_path)


@pytest.mark.parametrize("backend", CONFINING)
def test_an_environment_that_is_the_repository_itself(tmp_path: Path, backend: str) -> None:
    repository = tmp_path / "a" / "repository"
    repository.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True)
    check_only_the_environment_is_shown(backend, tmp_path / "a", repository, tmp_path)
    found, _ = asked(repository / "bin" / "python", tmp_path, backend, repository / ".git" / "HEAD")
    assert set(found.values()) <= {"ENOENT", "EACCES"}


@pytest.mark.parametrize("backend", CONFINING)
def test_nothing_of_the_host(tmp_path: Path, backend: str) -> None:
    private = tmp_path / "private.txt"
    private.write_text("secret")
    files = [private, ROOT / "pyproject.toml", ROOT / "tests" / "conftest.py", "/etc/passwd", "/etc/hostname"]
    folders = ["/run", "/var", "/etc/ssl", "/sys/class", "/sys/fs", "/dev/pts", "/boot", "/srv", "/mnt"]
    found, _ = asked(Path(sys.executable), tmp_path, backend, *files, *folders, "/dev", "/")
    assert {found[str(path)] for path in (*files, *folders)} <= {"ENOENT", "EACCES"}
    if BACKENDS[backend].level >= Level.NAMESPACES:
        assert set(found["/dev"]) == {"null", "zero", "full", "random", "urandom", "shm"}
        assert found["/"] != sorted(path.name for path in Path("/").iterdir())
