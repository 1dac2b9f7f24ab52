"""The commands that a view suggests, written so that they work where the user stands."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from looper.models import Target
from looper.places import FOLDER, home_of, tags
from looper.stop import Request


def program() -> str:
    """How to call looper from here: its name where the shell finds it, else the path it was called by."""
    called, found = Path(sys.argv[0]), shutil.which("looper")
    if called.name != "looper" or not called.exists() or (found and Path(found).samefile(called)):
        return "looper"
    return shlex.quote(os.path.relpath(called) if called.resolve().is_relative_to(Path.cwd()) else str(called))


def again(target: Target, request: Request, tag: str) -> str:
    """The command that goes on with the session ``tag``: the one that was given, without ``--fresh``."""
    given = [arg for arg in sys.argv[1:] if arg != "--fresh"]
    if tag != (request.tag or target.name):  # --fresh chose the tag
        given = [*_without(given, "--tag"), "--tag", tag]
    return shlex.join([program(), *given]) if program() == "looper" else f"{program()} {shlex.join(given)}"


def reading(home: Path, tag: str, command: str) -> str:
    """A command that reads the session, such as ``show N``, with the options that it needs here."""
    words = [program(), command]
    if tags(home)[:1] != [tag] or len(tags(home)) > 1:
        words.append(tag if command in ("log", "status", "check-ledger") else f"--tag {tag}")
    if home_of(Path.cwd()) != home:
        words.append(f"--repo {_path(home)}")
    return " ".join(words)


def history(home: Path, git_dir: Path, tag: str) -> str:
    """The command that shows the session's branch."""
    return f"{_git(home, git_dir)} log looper/{tag}"


def taking(home: Path, git_dir: Path, tag: str, target: Target) -> str:
    """The command that brings what was found into the user's own files."""
    if not _is_own(home, git_dir):
        return f"{_git(home, git_dir)} merge looper/{tag}"
    files = shlex.join(target.editable)
    return f"{_git(home, git_dir)} archive looper/{tag} {files} | tar -x -C {_path(target.root)}"


def _git(home: Path, git_dir: Path) -> str:
    if _is_own(home, git_dir):
        return f"git --git-dir={_path(git_dir)}"
    return "git" if Path.cwd().is_relative_to(home) else f"git -C {_path(home)}"


def _is_own(home: Path, git_dir: Path) -> bool:
    """Whether the repository was made by looper for a target that is in none."""
    return git_dir.is_relative_to(home / FOLDER)


def _path(path: Path) -> str:
    near = path.is_relative_to(Path.cwd())
    return shlex.quote(os.path.relpath(path) if near else str(path))


def _without(given: list[str], option: str) -> list[str]:
    kept, skip = [], False
    for arg in given:
        if not skip and arg != option and not arg.startswith(f"{option}="):
            kept.append(arg)
        skip = arg == option and not skip
    return kept
