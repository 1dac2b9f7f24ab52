"""git for a session: candidates as commits, the branch, checkouts. Nothing else touches git.

Candidates are written to the object store straight from the bytes that are evaluated; the user's checkout,
index, configuration, hooks and filters take no part, and nothing there is ever staged, cleaned or reset.
Folders that are measured in hold plain files written from the store, without a ``.git`` that a candidate
could follow, and the session's branch is checked out nowhere, so that the user is free to check it out.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from looper.errors import WorkspaceError
from looper.gitrepo import Git, repository_of
from looper.places import make_folder

MAX_FILE = 64 << 20  # a target's folder is code, not data
SKIPPED = frozenset({".git", ".looper", "__pycache__", ".venv"})


class Workspace:
    """The repository of a target, as one session sees it.

    Args:
        root: the target's folder.
        tag: of the session; its branch is ``looper/<tag>``.

    Attributes:
        home: the folder that holds ``.looper/``; see :func:`locate`.
    """

    def __init__(self, root: Path, tag: str) -> None:
        self.root = root.resolve()
        self.branch_name = f"looper/{tag}"
        self.branch = f"refs/heads/{self.branch_name}"
        self._tried = f"refs/looper/{tag}/tried"
        self.home, git_dir = locate(self.root)
        self._own = git_dir is None  # the repository is the session's, not the user's
        if git_dir is None:
            git_dir = make_folder(self.home) / "repo.git"
            if not git_dir.exists():
                Git(git_dir)("init", "--bare", "--quiet", str(git_dir))
        self.git = Git(git_dir)
        self._prefix = ""
        if not self._own and self.root != self.home:
            self._prefix = f"{self.root.relative_to(self.home).as_posix()}/"

    # -- the target's files ------------------------------------------------------------------------------

    def snapshot(self, message: str) -> str:
        """The commit to start from: the target's folder as it is on the disk, on top of the user's HEAD.

        It is HEAD itself when nothing differs. Files that git ignores are left out.

        Raises:
            WorkspaceError: when the folder holds something that cannot be part of a target.
        """
        files = self.files_on_disk()
        head = None if self._own else self.git.resolve("HEAD")
        old = self._entries(head) if head else {}
        if head and {name: blob for name, (_, blob) in old.items()} == {n: _blob_id(d) for n, d in files.items()}:
            return head
        lines = [f"D {_quoted(self._prefix + name)}\n".encode() for name in sorted(old.keys() - files.keys())]
        for name, data in sorted(files.items()):
            mode = "100755" if os.access(self.root / name, os.X_OK) else "100644"
            lines.append(self._modify(mode, name, data))
        return self._commit(None, head, message, b"".join(lines))

    def files_on_disk(self) -> dict[str, bytes]:
        """Every file of the target's folder as it is now, by path relative to it; not those that git ignores.

        Raises:
            WorkspaceError: when one is no plain file, or too large to be part of a target.
        """
        return {name: _read_plain(self.root / name) for name in self._names_on_disk()}

    def files_at(self, commit: str) -> dict[str, bytes]:
        """Every file of the target's folder at ``commit``, by path relative to it."""
        entries = self._entries(commit)
        out = self.git("cat-file", "--batch", data="".join(f"{blob}\n" for _, blob in entries.values()).encode())
        files, at = {}, 0
        for name in entries:
            end = out.index(b"\n", at)
            size = int(out[at:end].split()[2])
            files[name] = out[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return files

    def _entries(self, commit: str) -> dict[str, tuple[str, str]]:
        """path relative to the target's folder -> (mode, blob)."""
        out = self.git("ls-tree", "-r", "-z", "--full-tree", commit, "--", self._prefix or ".")
        entries = {}
        for line in out.decode().split("\0")[:-1]:
            head, _, path = line.partition("\t")
            mode, kind, blob = head.split()
            if kind == "blob":
                entries[path.removeprefix(self._prefix)] = (mode, blob)
        return entries

    def _names_on_disk(self) -> list[str]:
        if self._own:
            found = [
                (Path(place) / name).relative_to(self.root).as_posix()
                for place, folders, names in os.walk(self.root)
                for name in names
                if not SKIPPED & set(Path(place).relative_to(self.root).parts)
            ]
            return sorted(found)
        listing = self.git(
            f"--work-tree={self.home}", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--full-name",
            "--", self._prefix or ".",
        )  # fmt: skip
        names = {name.removeprefix(self._prefix) for name in listing.decode().split("\0")[:-1]}
        return sorted(
            name for name in names if not SKIPPED & set(PurePosixPath(name).parts) and os.path.lexists(self.root / name)
        )

    # -- candidates and the branch -----------------------------------------------------------------------

    def candidate(self, n: int, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """Commit the champion's files with these in place of its own, as ``refs/looper/<tag>/tried/<n>``."""
        changes = b"".join(self._modify("100644", name, data) for name, data in sorted(files.items()))
        return self._commit(f"{self._tried}/{n}", parent, message, changes)

    def keep(self, candidate: str, champion: str, message: str) -> str:
        """The candidate's tree as a commit on top of the champion, with the result in its message."""
        return self.git("commit-tree", f"{candidate}^{{tree}}", "-p", champion, data=message.encode()).decode().strip()

    def move_branch(self, new: str, old: str | None) -> None:
        """Put the session's branch on ``new``; it must still be on ``old`` (None: it must not exist).

        Raises:
            WorkspaceError: when the user moved it meanwhile.
        """
        done = self.git.run("update-ref", "--no-deref", self.branch, new, old or "0" * 40)
        if done.returncode:
            name, text = self.branch_name, done.stderr.decode(errors="replace").strip()
            raise WorkspaceError(
                f"The branch {name} cannot be moved to {new[:12]} ({text}). If it was moved by hand, put it back with: "
                f"git branch -f {name} {(old or new)[:12]} -- or start a new session with --fresh. "
                "The ledger has everything up to here."
            )

    def head(self) -> str | None:
        """The commit that the session's branch is on, None when there is no such branch."""
        return self.git.resolve(self.branch)

    def has(self, commit: str) -> bool:
        """Whether the repository holds this commit."""
        return self.git.resolve(commit) is not None

    def diff(self, old: str, new: str) -> str:
        """The unified diff from one commit to another, of the target's folder."""
        out = self.git("diff", "--no-color", "--no-ext-diff", "--no-textconv", old, new, "--", self._prefix or ".")
        return out.decode(errors="replace")

    def merge(self, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        """The three-way merge of one file, None when both sides changed the same place."""
        with tempfile.TemporaryDirectory() as folder:
            names = []
            for name, data in (("ours", ours), ("base", base), ("theirs", theirs)):
                Path(folder, name).write_bytes(data)
                names.append(str(Path(folder, name)))
            done = self.git.run("merge-file", "-p", *names)
        return done.stdout if done.returncode == 0 else None

    def _modify(self, mode: str, name: str, data: bytes) -> bytes:
        return f"M {mode} inline {_quoted(self._prefix + name)}\ndata {len(data)}\n".encode() + data + b"\n"

    def _commit(self, ref: str | None, parent: str | None, message: str, changes: bytes) -> str:
        """One commit through ``git fast-import``: one process, no index, no filter, no hook."""
        name = ref or "refs/looper/snapshot"
        text = message.encode()
        who = f"looper <looper@localhost> {int(time.time())} +0000"
        head = f"feature done\ncommit {name}\nmark :1\ncommitter {who}\ndata {len(text)}\n".encode() + text + b"\n"
        origin = f"from {parent}\n".encode() if parent else b""
        stream = head + origin + changes + b"\nget-mark :1\n"
        if ref is None:
            stream += f"reset {name}\nfrom {'0' * 40}\n\n".encode()
        out = self.git("fast-import", "--quiet", "--force", "--cat-blob-fd=1", data=stream + b"done\n")
        return out.decode().strip()


def _quoted(path: str) -> str:
    """A path as fast-import reads it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _read_plain(path: Path) -> bytes:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise WorkspaceError(f"{path} is not a plain file. A target's folder may hold plain files only.")
    if status.st_size > MAX_FILE:
        raise WorkspaceError(
            f"{path} has {status.st_size >> 20} MiB; files of a target may have {MAX_FILE >> 20}. Keep data outside the "
            "target's folder, or have git ignore it."
        )
    return path.read_bytes()


def _blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def locate(root: Path) -> tuple[Path, Path | None]:
    """Where the sessions of the target in ``root`` live: (the folder with ``.looper/``, its git directory).

    The repository whose checkout the target is part of; else no repository (None), and the target's own folder,
    or the current one for a target that was installed as a package.
    """
    root = root.resolve()
    found = repository_of(root)
    if found is not None and (root == found[0] or not _is_ignored(root, *found)):
        return found
    installed = {"site-packages", "dist-packages"} & set(root.parts)
    return (Path.cwd() if installed else root), None


def _is_ignored(folder: Path, top: Path, git_dir: Path) -> bool:
    return Git(git_dir).run(f"--work-tree={top}", "check-ignore", "--quiet", str(folder)).returncode == 0


def tree_id(files: Mapping[str, bytes]) -> str:
    """A hash of the editable files: equal for the same candidate, whatever its parent."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{len(name)} {name} {len(data)}\n".encode() + data)
    return digest.hexdigest()
