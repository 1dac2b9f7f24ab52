"""Where sessions lie on the disk: ``<home>/.looper/<tag>/``."""

from __future__ import annotations

import re
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
