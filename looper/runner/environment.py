"""Whether what evaluators run from is still what it was: Python, its library, the installed packages, looper.

What is covered: everything that ``python -I`` can import from the standard library and the installed packages, with
the shared libraries beside it, the interpreter itself and looper's own package. A change shows in a file's inode,
size or times; the time of change (ctime) can be set by nobody but the kernel.
What is not covered: data files of packages, and folders that held no code; libraries of the system; folders that a
``.pth`` file adds for a package under development, but for looper's own; a change while this very looper starts.
``__pycache__`` is left out because evaluators never look there.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import looper
from looper.errors import SessionError
from looper.evaluation.logtext import one_line

INSTALLED = ("site-packages", "dist-packages")
LEFT_OUT = ("__pycache__", *INSTALLED)  # installed packages lie inside the library of some Pythons
CODE = (".py", ".pyc", ".pth")
PART = 200  # paths that are looked at in one go while looper has nothing else to do: 0.6 ms here
EVERY_S = 0.1
SHOWN = 20

#: Inode, size in bytes, time of modification and of change in ns; None where there is nothing.
Stamp = tuple[int, int, int, int] | None


class Environment:
    """Folders of code as they are now, to be held against what they become.

    Args:
        folders: looked at with all folders below them.
        files: single files, which need not exist.
        often: those paths among them, or below them, that every :meth:`look` looks at.
    """

    def __init__(self, folders: Iterable[str], files: Iterable[str] = (), often: Iterable[str] = ()) -> None:
        self._known: dict[str, Stamp] = {file: _stamp(file) for file in files}
        self._entries: dict[str, frozenset[str]] = {}
        for folder in folders:
            self._record(folder)
        self._often = [path for path in dict.fromkeys(often) if path in self._known]
        self._all = list(self._known)
        self._next, self._at = 0, time.monotonic()
        self._changes: dict[str, str] = {}

    def paths(self) -> list[str]:
        """Everything that is looked at."""
        return list(self._all)

    def look(self) -> list[str]:
        """What has changed, as far as it was looked at: a path and how it differs, a line each.

        Looks at ``often`` alone, which takes about 1 ms; :meth:`look_on` sees to the rest by and by.
        """
        self._compare(self._often)
        return self._told()

    def look_on(self) -> None:
        """Look at the next few of all paths, a few times a second at the most."""
        if time.monotonic() - self._at >= EVERY_S:
            self._compare(islice(self._all, self._next, self._next + PART))
            self._next = self._next + PART if self._next + PART < len(self._all) else 0
            self._at = time.monotonic()

    def look_everywhere(self) -> list[str]:
        """What has changed, after a look at everything: 30 ms with 11,000 files."""
        self._compare(self._all)
        return self._told()

    def _record(self, folder: str) -> bool:
        """Record a folder and those below it that hold code somewhere; whether this one does."""
        if folder in self._entries:
            return True
        stamp, inner, code = _stamp(folder), [], False
        names = set()
        for entry in _code_in(folder):
            names.add(entry.name)
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.path)
            elif not entry.is_dir():
                code = True
                self._known[entry.path] = _stamp(entry.path)
        code = any([self._record(path) for path in inner]) or code
        if code:
            self._known[folder], self._entries[folder] = stamp, frozenset(names)
        return code

    def _compare(self, paths: Iterable[str]) -> None:
        for path in paths:
            if (stamp := _stamp(path)) != self._known[path]:
                self._found(path, stamp)

    def _found(self, path: str, stamp: Stamp) -> None:
        if path not in self._entries:
            self._changes[path] = _how(self._known[path], stamp)
            return
        names = frozenset(entry.name for entry in _code_in(path))
        for name in names ^ self._entries[path]:
            self._changes[os.path.join(path, name)] = "is new" if name in names else "is gone"
        self._known[path] = stamp  # whatever else was done in it, such as a new __pycache__, is of no concern

    def _told(self) -> list[str]:
        lines = [one_line(f"{path}: {how}") for path, how in sorted(self._changes.items())]
        more = len(lines) - SHOWN
        return lines if more <= 0 else [*lines[:SHOWN], f"and {more} more"]


def of_evaluators() -> Environment:
    """What evaluators of this looper run from, as it is now."""
    packages = [path for path in sys.path if Path(path).name in (*INSTALLED, "lib-dynload") and os.path.isdir(path)]
    own = str(Path(looper.__file__).parent)
    folders = [os.path.realpath(path) for path in (sysconfig.get_path("stdlib"), *packages, own)]
    files = [sys.executable, os.path.realpath(sys.executable), os.path.join(sys.prefix, "pyvenv.cfg")]
    files += [path for path in sys.path if path.endswith(".zip")]
    often = [*folders, *files, *_entered_by(folders), *_all_below(folders[-1])]
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    often += [path for path in map(os.path.realpath, filter(None, loaded)) if path.startswith(folders[0] + os.sep)]
    return Environment(folders, files, often)


def must_be_unchanged(changes: list[str]) -> None:
    """Refuse to go on measuring with something else.

    Raises:
        SessionError: when there are changes.
    """
    if changes:
        raise SessionError(
            "What evaluators run from (Python, its packages, looper) was changed since this command began:\n  "
            + "\n  ".join(changes)
            + "\nMeasurements before and after such a change are not comparable. If it was you, who installed or "
            "updated something, start a new session with --fresh. If it was not, a candidate may have done it: "
            "reinstall what was changed, and look at the experiments of that time with `looper log`. The same command "
            "again goes on from here."
        )


def _entered_by(folders: Iterable[str]) -> Iterator[str]:
    """What Python runs at its start, and what it runs first of every package."""
    for folder in map(Path, folders):
        yield from map(str, folder.glob("*.pth"))
        yield from map(str, folder.glob("*/__init__.py"))


def _all_below(package: str) -> Iterator[str]:
    for path in Path(package).rglob("*.py"):
        yield from (str(path.parent), str(path))


def _code_in(folder: str) -> list[os.DirEntry[str]]:
    """Code and folders in ``folder``, nothing when it is gone."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if _is_code(entry)]
    except OSError:
        return []


def _is_code(entry: os.DirEntry[str]) -> bool:
    if entry.name.endswith(CODE) or ".so" in entry.name:
        return True
    return entry.name not in LEFT_OUT and entry.is_dir()


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _how(then: Stamp, now: Stamp) -> str:
    if then is None or now is None:
        return "is gone" if now is None else "is new"
    changed = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now[3] / 1e9))
    return f"had {then[1]} bytes, has {now[1]}, was changed at {changed} UTC"
