"""Where things lie on the disk: sessions in ``<home>/.looper/<tag>/``, what is prepared once in the cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
from collections.abc import Collection
from pathlib import Path

from looper.errors import SessionError
from looper.gitrepo import repository_of

FOLDER = ".looper"
IGNORE = "# looper's own files\n*\n"
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")  # a folder's name, and part of a branch's


def home_of(folder: Path) -> Path:
    """The folder that holds ``.looper`` for what lies in ``folder``: itself if it has one, else the repository's."""
    folder = folder.resolve()
    if (folder / FOLDER).is_dir():
        return folder
    found = repository_of(folder)
    return found[0] if found else folder


def make_folder(home: Path) -> Path:
    """``.looper`` in ``home``, made so that git does not see it.

    Raises:
        SessionError: when a link lies there, which a repository may bring along: what is written to it goes elsewhere.
    """
    folder = home / FOLDER
    for path in (folder, *folder.glob("*"), *folder.glob("*/*")):
        if path.is_symlink():
            raise SessionError(f"{path} is a link, through which looper would write elsewhere. Remove it.")
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.is_file() or ignore.read_text(errors="replace") != IGNORE:
        ignore.write_text(IGNORE)
    return folder


def ledger_path(home: Path, tag: str) -> Path:
    """The ledger of a session."""
    return home / FOLDER / tag / "ledger.jsonl"


def tags(home: Path) -> list[str]:
    """The sessions in ``home``, the one written to last first."""
    ledgers = sorted((home / FOLDER).glob("*/ledger.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.name for path in ledgers]


def is_tag(text: str) -> bool:
    """Whether a session may have this tag: letters, digits, ``-``, ``_`` and single dots within."""
    return bool(TAG.fullmatch(text)) and not text.endswith((".lock", ".git"))


def next_tag(tag: str, taken: Collection[str]) -> str:
    """``tag``, or the first of ``tag-2``, ``tag-3``, … that is not ``taken``."""
    number, name = 1, tag
    while name in taken:
        number += 1
        name = f"{tag}-{number}"
    return name


def existing(home: Path, tag: str | None) -> Path:
    """The ledger of the session ``tag``, or of the latest session.

    Raises:
        SessionError: when there is none.
    """
    found = tags(home)
    if tag is None and found:
        return ledger_path(home, found[0])
    if tag is not None and tag in found:
        return ledger_path(home, tag)
    here = f"Sessions there: {', '.join(found)}." if found else "Start one with: looper run TARGET"
    what = f"no session {tag!r}" if tag else "no session"
    raise SessionError(f"There is {what} in {home / FOLDER}. {here}")


def cache_folder() -> Path:
    """Where looper keeps what it prepares once: ``looper`` in $LOOPER_CACHE, $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("LOOPER_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(chosen).expanduser() / "looper"


def pycache_folder() -> Path | None:
    """A folder for this interpreter's compiled modules that nobody else can write to, made where it is missing.

    Returns:
        None when there is none: it cannot be made, is a link, belongs to somebody else, or is open to others.
    """
    key = hashlib.sha256(f"{os.path.realpath(sys.executable)} {sys.version}".encode()).hexdigest()[:12]
    try:
        folder = cache_folder().absolute() / "pycache" / f"{sys.implementation.cache_tag}-{key}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except (OSError, RuntimeError):  # the latter from a user without a home
        return None
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    return folder if private else None
