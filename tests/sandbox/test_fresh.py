"""What a worker with a file system of its own can write, how much of it, and what it cannot touch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from looper.sandbox import BACKENDS, Level, Limits
from tests.measuring import backends
from tests.sandbox.workers import worker_of

CONFINING = [name for name in backends() if BACKENDS[name].level > Level.PROCESS]
OWN = pytest.mark.parametrize("backend", [name for name in CONFINING if BACKENDS[name].level >= Level.NAMESPACES])

FILL = """
import errno, os
CHUNK = bytes(1 << 20)

def disk(place):
    "MiB until it is full, and the error."
    written = 0
    try:
        while True:
            with open(f"{place}/{written}", "wb") as f: f.write(CHUNK)
            written += 1
    except OSError as error:
        return written, errno.errorcode[error.errno]

def inodes(place):
    made = 0
    try:
        while True:
            open(f"{place}/{made}", "w").close()
            made += 1
    except OSError as error:
        return made, errno.errorcode[error.errno]
"""


@OWN
def test_what_it_writes_anywhere_is_limited_together(tmp_path: Path, backend: str) -> None:
    worker = worker_of(tmp_path, FILL, backend)
    limits = Limits()
    try:
        written, error = worker.call("disk", "/tmp")
        assert error == "ENOSPC"
        assert 0.9 * limits.disk_mb < written <= limits.disk_mb
        for place in ("/dev/shm", "."):
            assert worker.call("disk", place) == [0, "ENOSPC"]
    finally:
        worker.close()


@OWN
def test_how_many_files_it_makes_anywhere_is_limited_together(tmp_path: Path, backend: str) -> None:
    worker = worker_of(tmp_path, FILL, backend)
    limits = Limits()
    try:
        made, error = worker.call("inodes", "/dev/shm")
        assert error == "ENOSPC"
        assert 0.9 * limits.inodes < made < limits.inodes
        for place in ("/tmp", "."):
            assert worker.call("inodes", place) == [0, "ENOSPC"]
    finally:
        worker.close()


WRITE = """
import errno, os
HERE = os.path.dirname(__file__)
def attempt(action):
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def write():
    own = __file__
    return {
        "rewrite": attempt(lambda: open(own, "a").close()),
        "remove": attempt(lambda: os.remove(own)),
        "add": attempt(lambda: open(HERE + "/new", "w").close()),
        "rename": attempt(lambda: os.rename(own, HERE + "/other.py")),
        "add below": attempt(lambda: open(HERE + "/data/new", "w").close()),
        "add to the environment": attempt(lambda: open(os.path.dirname(os.__file__) + "/new.py", "w").close()),
        "add to the root": attempt(lambda: os.mkdir("/new")),
        "add beside": attempt(lambda: os.mkdir(HERE + "/../new")),
    }
def read(): return open(HERE + "/data/numbers").read()
"""


@pytest.mark.parametrize("backend", CONFINING)
def test_its_own_files_and_the_environment_are_there_to_be_read_only(tmp_path: Path, backend: str) -> None:
    worker = worker_of(tmp_path, WRITE, backend, files={"data/numbers": b"17"})
    try:
        assert set(worker.call("write").values()) <= {"EROFS", "EACCES", "EPERM"}
        assert worker.call("read") == "17"
    finally:
        worker.close()


HIDDEN = """
import importlib, os
def fetch(name):
    try:
        return importlib.import_module(name).__name__
    except (ImportError, OSError) as error:
        return type(error).__name__
def read(path):
    try:
        return sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read()[:9]
    except OSError as error:
        return type(error).__name__
"""


@pytest.mark.parametrize("backend", CONFINING)
def test_what_is_hidden_cannot_be_read_and_its_neighbours_can(tmp_path: Path, backend: str) -> None:
    library = Path(json.__file__).parent.parent
    file, folder = library / "poplib.py", library / "wsgiref"
    hidden = (str(file), str(folder), str(library / "is-not-there"))
    worker = worker_of(tmp_path, HIDDEN, backend, hidden=hidden)
    try:
        names_too = [folder] if BACKENDS[backend].level >= Level.NAMESPACES else []  # Landlock shows the names
        for path in (file, folder / "util.py", *names_too):
            assert worker.call("read", str(path)) in ("PermissionError", "FileNotFoundError")
        assert worker.call("fetch", "wsgiref.util") in ("ModuleNotFoundError", "PermissionError")
        assert worker.call("read", str(library / "ftplib.py")) not in ("PermissionError", "FileNotFoundError")
        assert worker.call("fetch", "imaplib") == "imaplib"  # beside the file
        assert worker.call("fetch", "xmlrpc.client") == "xmlrpc.client"  # beside the folder
    finally:
        worker.close()
