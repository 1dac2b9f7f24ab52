"""Files that survive a kill at any instant: the cache folder, locks, atomic writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path


def cache_root() -> Path:
    """``<cache>/looper/nanogpt``; <cache> is $LOOPER_CACHE, else $XDG_CACHE_HOME, else ``~/.cache``."""
    chosen = os.environ.get("LOOPER_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(chosen).expanduser().absolute() / "looper" / "nanogpt"


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the file ``path`` against other processes and threads; ``waiting`` is called if one has it.

    The kernel lets go of the lock when its holder dies, however it dies. The file itself stays: were
    it removed, two holders could lock two different files of the same name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: whoever reads it sees the old bytes or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(beside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable: a rename is on disk only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
