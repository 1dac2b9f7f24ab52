"""What the attacks on repositories share: a target that says what it was given, and what must stay the user's."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.projects import COMMAND, Project
from tests.scripted import EVALUATE, Scripted

MIB = 1 << 20
REPORT = "    run.report("
TELL = """\
    import hashlib, os
    print("evaluated", hashlib.sha256((run.root / "point.txt").read_bytes()).hexdigest())
    print("told", *sorted(os.environ))
    for place, folders, names in os.walk(run.root.parent):
        for name in folders + names:
            print("found", "link" if os.path.islink(os.path.join(place, name)) else "plain", name)
"""


def told(folder: Path, moves: tuple[Mapping[str, Any], ...] = ({"a": 9}, {"a": 8}), in_git: bool = True) -> Scripted:
    """A project whose evaluator says what it was given."""
    project = Scripted(folder, moves, in_git=in_git)
    project.write("evaluate.py", EVALUATE.replace(REPORT, TELL + REPORT))
    if in_git:
        project.commit("An evaluator that tells")
    return project


def run(project: Scripted, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "run", str(project.target), "--proposer", "steps", "--slots", "1", "--experiments", "2", *args]
    done = subprocess.run(
        command, cwd=project.top, env=project.environment(**env), capture_output=True, text=True, timeout=100
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def plain_git(project: Project, *args: str) -> bytes:
    """git as nobody configured it, so that asking runs nothing."""
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {"GIT_NO_REPLACE_OBJECTS": "1"}
    options = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    return subprocess.run(["git", *options, *args], cwd=project.top, env=env, check=True, capture_output=True).stdout


def users_own(project: Scripted) -> dict[str, str]:
    """All that is the user's: the files with their kinds, the index, HEAD, the configuration, every other branch."""
    found = {}
    for path in sorted(project.top.rglob("*")):
        below = path.relative_to(project.top).parts
        if ".looper" in below or (below[0] == ".git" and below[-1] not in ("index", "HEAD", "config", "packed-refs")):
            continue
        status = path.lstat()
        small = path.is_file() and not path.is_symlink() and status.st_size < MIB
        data = hashlib.sha256(path.read_bytes()).hexdigest() if small else ""
        found["/".join(below)] = f"{status.st_mode:o} {status.st_size if path.is_file() else ''} {data}"
    if (project.top / ".git").exists():
        branches = plain_git(project, "for-each-ref", "--format=%(objectname) %(refname)").decode().splitlines()
        found["branches"] = "\n".join(line for line in branches if "/looper/" not in line)
    return found
