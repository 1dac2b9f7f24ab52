"""Running git so that nothing of the user's configuration, hooks or filters can take part."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from looper.errors import WorkspaceError

OVERRIDES = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.autocrlf=false", "core.attributesFile=/dev/null",
    "core.quotePath=false", "core.fsync=loose-object,pack,reference", "gc.auto=0", "maintenance.auto=false",
    "commit.gpgSign=false", "fastimport.unpackLimit=1000", "safe.directory=*",
)  # fmt: skip
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_AUTHOR_NAME": "looper",
    "GIT_AUTHOR_EMAIL": "looper@localhost",
    "GIT_COMMITTER_NAME": "looper",
    "GIT_COMMITTER_EMAIL": "looper@localhost",
    "LC_ALL": "C.UTF-8",
}


class Git:
    """One repository, addressed by its git directory so that no working tree is ever involved."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self._command = ["git", f"--git-dir={git_dir}"]
        for item in OVERRIDES:
            self._command += ["-c", item]
        self._environment = {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT}

    def __call__(self, *args: str, data: bytes = b"", ok: Sequence[int] = (0,)) -> bytes:
        """Run ``git *args`` with ``data`` on standard input and return its standard output.

        Raises:
            WorkspaceError: when it exits with a status that is not in ``ok``.
        """
        done = self.run(*args, data=data)
        if done.returncode not in ok:
            text = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
            raise WorkspaceError(f"git {args[0]} failed in {self.git_dir}: {text}")
        return done.stdout

    def run(self, *args: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ``git *args`` and return whatever came of it.

        Raises:
            WorkspaceError: when there is no git.
        """
        try:
            # In a session of its own: a Ctrl-C at the terminal must not cut a commit short.
            return subprocess.run(
                [*self._command, *args],
                input=data,
                capture_output=True,
                env=self._environment,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise WorkspaceError("git was not found. Install it and run the same command again.") from None

    def resolve(self, name: str) -> str | None:
        """The commit that ``name`` stands for, None when there is none."""
        done = self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return done.stdout.decode().strip() or None


def repository_of(folder: Path) -> tuple[Path, Path] | None:
    """(top level, git directory) of the repository whose checkout ``folder`` is in, None when in none."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "-C",
        str(folder),
        "rev-parse",
        "--show-toplevel",
        "--absolute-git-dir",
    ]
    environment = {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, text=True)
    except FileNotFoundError:
        raise WorkspaceError("git was not found. Install it and run the same command again.") from None
    if done.returncode:
        return None
    top, git_dir = done.stdout.splitlines()
    return Path(top).resolve(), Path(git_dir)
