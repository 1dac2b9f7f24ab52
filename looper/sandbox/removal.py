"""Removes what a worker may have left, however it is made: closed, nested without end, full of links."""

from __future__ import annotations

import itertools
import os
import secrets
import stat
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a file or a whole folder, also one whose permissions forbid it to its owner.

    Every folder inside is moved to the top before it is emptied, so that neither the length of a path nor the
    program's stack bounds how deep they may lie.

    Raises:
        OSError: when something of it is left.
    """
    if not is_folder(path):
        path.unlink(missing_ok=True)
        return
    name = secrets.token_hex(8)
    places = (path / f"{name}-{n}" for n in itertools.count())
    full = [path]
    while full:
        folder = full.pop()
        folder.chmod(0o700)
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)
                full.append(Path(entry.path).rename(next(places)))
            else:
                os.unlink(entry.path)
        if folder != path:
            folder.rmdir()
    path.rmdir()


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False
