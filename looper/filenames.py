"""Which names the files of a target may have. Pure.

A name is what people, git and every file system must read alike: a keep is checked out on other machines, and two
names that look the same would let a reader, or a file system, take the one for the other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from looper.evaluation.logtext import UNPRINTABLE
from looper.models import Target

SKIPPED = frozenset({".git", ".looper", "__pycache__", ".venv"})  # folders that are no part of a target
SHOWN = 200  # characters of a name in a message

# Unicode's Default_Ignorable_Code_Point beyond the categories of UNPRINTABLE (DerivedCoreProperties.txt 15.0): drawn
# as nothing, and ignored by file systems that compare names as people see them.
IGNORABLE = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065), (0x3164, 0x3164),
        (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF),
    )
    for code in range(first, last + 1)
)  # fmt: skip


def shown(name: object) -> str:
    """A name for a message: odd characters are spelt out, so that no two names look the same."""
    text = ascii(name)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def fault(name: str) -> str:
    """Why no file of a target may have this path, relative to the target's folder; empty when one may."""
    if any("\ud800" <= char <= "\udfff" for char in name):
        return "is not UTF-8"
    for char in name:
        if unicodedata.category(char) in UNPRINTABLE:
            return f"holds the invisible character U+{ord(char):04X}"
    parts = name.split("/")
    if {"", ".", ".."} & set(parts):
        return "is no plain path below the target's folder"
    if any(_is_git(part) for part in parts):
        return "is one that some file systems take for git's own folder"
    return ""


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of these paths, or of the folders on the way to them, that some people or file systems take for one."""
    seen: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            other = seen.setdefault(_folded(path), path)
            if other != path:
                return other, path
    return None


def fault_of_declared(target: Target) -> str:
    """What is wrong with the paths that a target names, and what to do; empty when nothing is."""
    for name in (*target.editable, target.evaluator, target.program):
        why = fault(name)
        if not why and "\\" in name:
            why = "has a backslash: folders are parted by '/'"
        if not why and any(_folded(part).startswith(".git") or part in SKIPPED for part in name.split("/")):
            why = "is git's or looper's, or a cache"
        if why:
            return f"names {shown(name)}, which {why}. Name a plain file below its folder."
    if pair := twins(sorted(target.editable)):
        return f"names two editable files that could be taken for one, {shown(pair[0])} and {shown(pair[1])}."
    for name in target.editable:
        if target.editable.count(name) > 1:
            return f"names the editable file {shown(name)} twice. Name it once."
        if name in (target.evaluator, target.program, "target.py"):
            return f"names {name} as an editable file, but it is part of what judges: it cannot be editable."
    return ""


def _folded(path: str) -> str:
    """What is left of a path for those who see no case, no composition and no invisible characters."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
    return "".join(char for char in plain if char not in IGNORABLE)


def _is_git(part: str) -> bool:
    """As git's own ``is_ntfs_dotgit`` and ``is_hfs_dotgit``: ``.GIT``, ``git~1``, ``.git.``, ``.git::$DATA``, …"""
    return _folded(part).partition(":")[0].rstrip(" .") in (".git", "git~1")
