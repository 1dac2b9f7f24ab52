"""Running git so that nothing of the user's configuration, hooks or filters can take part."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from looper.errors import WorkspaceError

# core.fsync: what a ledger line names is on the disk before the line is. Seen with strace: fast-import hands
# its pack to unpack-objects, which fsyncs every loose object before it gets its name; commit-tree does the same
# with its one, and a reference is fsynced before it is renamed into place. That is six fsyncs for a candidate
# in a folder of the repository (pack, file, two trees, commit, reference), three more for a keep. git does
# not fsync the folders that hold the names: the ledger's own fsync, which follows, commits their entries
# too on the journalling file systems (ext4, XFS). On a virtual disk with ext4 a candidate took 6.2 to 7.6 ms with
# this and 5.1 ms without; core.fsyncMethod=batch took longer. git before 2.36 does not know the setting.
OVERRIDES = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.autocrlf=false", "core.attributesFile=/dev/null",
    "core.quotePath=false", "core.fsync=loose-object,pack,reference", "gc.auto=0", "maintenance.auto=false",
    "commit.gpgSign=false", "i18n.commitEncoding=utf-8", "fastimport.unpackLimit=1000", "safe.directory=*",
)  # fmt: skip
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",  # a git of before 2.39.4 does not know the line above and would run the remote's command
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

    def __call__(self, *args: str, data: bytes = b"") -> bytes:
        """Run ``git *args`` with ``data`` on standard input and return its standard output.

        Raises:
            WorkspaceError: when it exits with another status than 0.
        """
        done = self.run(*args, data=data)
        if done.returncode:
            text = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
            raise WorkspaceError(f"git {' '.join(args)[:200]} failed in {self.git_dir}: {text}")
        return done.stdout

    def run(self, *args: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run ``git *args`` and return whatever came of it.

        Raises:
            WorkspaceError: when there is no git.
        """
        return _run(f"--git-dir={self.git_dir}", *args, data=data)

    def resolve(self, name: str) -> str | None:
        """The commit that ``name`` stands for, None when there is none."""
        done = self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return done.stdout.decode().strip() or None


def repository_of(folder: Path) -> tuple[Path, Path] | None:
    """(top level, git directory) of the repository whose checkout ``folder`` is in, None when in none.

    Raises:
        WorkspaceError: when there is no git.
    """
    found = []
    for question in ("--show-toplevel", "--absolute-git-dir"):  # one at a time: a path may hold a line feed
        done = _run("-C", str(folder), "rev-parse", question)
        if done.returncode:
            return None
        found.append(Path(os.fsdecode(done.stdout.removesuffix(b"\n"))))
    return found[0].resolve(), found[1]


def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """The three-way merge of one file, None when both sides changed the same place.

    Raises:
        WorkspaceError: when there is no git.
    """
    with tempfile.TemporaryDirectory(prefix="looper-merge-") as folder:
        for name, data in (("ours", ours), ("base", base), ("theirs", theirs)):
            Path(folder, name).write_bytes(data)
        # a repository around the temporary folder has no say either
        alone = {**_environment(), "GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.realpath(folder))}
        done = _run("-C", folder, "merge-file", "-p", "--quiet", "ours", "base", "theirs", environment=alone)
    return done.stdout if done.returncode == 0 else None


def user_excludes(folder: Path) -> str:
    """The file of patterns that the user has git ignore besides a checkout's own; reading the setting runs nothing."""
    where = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
    rest = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in where}
    done = _run("-C", str(folder), "config", "--type=path", "--get", "core.excludesFile", environment=rest)
    usual = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.fsdecode(done.stdout.removesuffix(b"\n")) or os.path.join(usual, "git", "ignore")


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT}


def _run(
    *args: str, data: bytes = b"", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    settings = [word for item in OVERRIDES for word in ("-c", item)]
    pipe = subprocess.PIPE
    try:
        # In a session of its own, and not through subprocess.run(), which kills what an interrupt finds
        # running: a Ctrl-C must not end git between taking a lock and giving it back.
        with subprocess.Popen(
            ["git", *settings, *args],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=environment or _environment(),
            start_new_session=True,
        ) as process:
            out, err = process.communicate(data)
    except FileNotFoundError:
        raise WorkspaceError("git was not found. Install it and run the same command again.") from None
    return subprocess.CompletedProcess(args, process.returncode, out, err)
