"""Reads what a target's folder holds, whatever somebody put there in place of a file."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from looper.errors import WorkspaceError

MAX_FILE = 64 << 20  # bytes; a target's folder is code, not data
DATA_ELSEWHERE = "Keep data outside the target's folder, or have git ignore it."


def read_plain(root: Path, name: str) -> bytes:
    """A file below ``root``: never through a link, never waiting for anything, and no more than ``MAX_FILE`` bytes.

    Raises:
        WorkspaceError: naming what is in the way, and what to do.
    """
    with contextlib.ExitStack() as opened:

        def enter(path: str | Path, flags: int, folder: int | None = None) -> int:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=folder)
            opened.callback(os.close, fd)
            return fd

        *folders, last = name.split("/")
        at = enter(root, os.O_DIRECTORY)
        path = root
        try:
            for part in folders:
                path = path / part
                at = enter(part, os.O_DIRECTORY | os.O_NOFOLLOW, at)
            path = path / last
            _check_plain(path, os.stat(last, dir_fd=at, follow_symlinks=False))  # to open a device may do something
            fd = enter(last, os.O_NOFOLLOW | os.O_NONBLOCK, at)
            size = _check_plain(path, os.fstat(fd))
            return os.pread(fd, size, 0)
        except (NotADirectoryError, FileNotFoundError):
            raise WorkspaceError(f"{path} is a link, or was changed just now. Put what it leads to there.") from None


def _check_plain(path: Path, status: os.stat_result) -> int:
    """The size of what is a plain file, of its own and not too large.

    A second name, elsewhere, is a way to change a locked file unseen. Installers link the files of packages to their
    caches, so that an installed target's have some.
    """
    if not stat.S_ISREG(status.st_mode):
        raise WorkspaceError(
            f"{path} is not a plain file. A target's folder may hold plain files only: put a file there, or have git "
            "ignore it."
        )
    if status.st_nlink > 1 and not is_installed(path):
        raise WorkspaceError(
            f"{path} is hard-linked: it has {status.st_nlink} names, and could be changed under another. Make it a "
            "file of its own: cp it to a new name, and mv that to the old."
        )
    if status.st_size > MAX_FILE:
        raise WorkspaceError(
            f"{path} has {status.st_size >> 20} MiB; files of a target may have {MAX_FILE >> 20}. {DATA_ELSEWHERE}"
        )
    return status.st_size


def is_installed(path: Path) -> bool:
    """Whether this is part of an installed package."""
    return bool({"site-packages", "dist-packages"} & set(path.parts))
