"""git for a session: the target's files, candidates as commits, checkouts. Nothing else touches git.

Candidates are written to the object store straight from the bytes that are evaluated; the user's checkout,
index, configuration, hooks and filters take no part, and nothing there is ever staged, cleaned or reset.
Folders that are measured in hold plain files written from the store, without a ``.git`` that a candidate
could follow, and the session's branch is checked out nowhere, so that the user is free to check it out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from looper.errors import WorkspaceError
from looper.filenames import SKIPPED, fault, shown, twins
from looper.gitrepo import Git, repository_of, user_excludes
from looper.places import make_folder
from looper.plainfile import DATA_ELSEWHERE, is_installed, read_plain
from looper.refs import Refs

MAX_ALL = 256 << 20  # bytes of all files together
PLAIN = ("100644", "100755")  # git's modes of files that are no links


class Workspace:
    """The repository of a target, as one session sees it.

    Args:
        root: the target's folder.
        tag: of the session; its branch is ``looper/<tag>``.
        place: what :func:`locate` found, if it is known.

    Attributes:
        home: the folder that holds ``.looper/``; see :func:`locate`.
        refs: the session's branch and its other names.
    """

    def __init__(self, root: Path, tag: str, place: tuple[Path, Path | None] | None = None) -> None:
        self.root = root.resolve()
        self.home, git_dir = place or locate(self.root)
        self._own = git_dir is None  # the repository is the session's, not the user's
        if git_dir is None:
            git_dir = _own_repository(make_folder(self.home))
        self.git = Git(git_dir)
        self.refs = Refs(self.git, tag)
        self._prefix = ""
        if not self._own and self.root != self.home:
            self._prefix = f"{self.root.relative_to(self.home).as_posix()}/"

    @property
    def branch_name(self) -> str:
        """The session's branch, ``looper/<tag>``."""
        return self.refs.name

    # -- the target's files ------------------------------------------------------------------------------

    def snapshot(self, files: Mapping[str, bytes], earlier: str | None, message: str) -> str:
        """The commit to start from: these ``files`` of the target's folder, on top of the user's HEAD.

        It is HEAD, or the ``earlier`` snapshot, when that has the very same files.
        """
        head = None if self._own else self.git.resolve("HEAD")
        for commit in (head, earlier):
            if commit and self.has(commit) and self._holds(commit, files):
                return commit
        old = self._entries(head) if head else {}
        lines = [b"D %s\n" % _quoted(self._prefix + name) for name in sorted(old.keys() - files.keys())]
        for name, data in sorted(files.items()):
            lines.append(self._modify(name, data))
        return self._commit(None, head, message, b"".join(lines))

    def files_on_disk(self) -> dict[str, bytes]:
        """Every file of the target's folder as it is now, by path relative to it; not those that git ignores.

        Raises:
            WorkspaceError: when one is no plain file of its own, has a name that could be taken for another, or is too
                large to be part of a target.
        """
        files: dict[str, bytes] = {}
        left = MAX_ALL
        for name in self._names_on_disk():
            files[name] = read_plain(self.root, name)
            left -= len(files[name])
            if left < 0:
                raise WorkspaceError(f"The files in {self.root} have more than {MAX_ALL >> 20} MiB. {DATA_ELSEWHERE}")
        return files

    def files_at(self, commit: str) -> dict[str, bytes]:
        """Every file of the target's folder at ``commit``, by path relative to it."""
        entries = {name: blob for name, blob in self._entries(commit).items() if blob}
        out = self.git("cat-file", "--batch", data="".join(f"{blob}\n" for blob in entries.values()).encode())
        files, at = {}, 0
        for name, blob in entries.items():
            end = out.index(b"\n", at)
            size = int(out[at:end].split()[2])
            files[name] = out[end + 1 : end + 1 + size]
            if _blob_id(files[name], like=blob) != blob:  # git itself looks at that in fsck alone
                raise WorkspaceError(
                    f"The object {blob[:12]}, {name} of the commit {commit[:12]}, is not what it was in the repository "
                    f"{self.git.git_dir}. See what else is damaged with: git fsck"
                )
            at = end + 1 + size + 1
        return files

    def _holds(self, commit: str, files: Mapping[str, bytes]) -> bool:
        return self._entries(commit) == {name: _blob_id(data, like=commit) for name, data in files.items()}

    def _entries(self, commit: str) -> dict[str, str]:
        """path relative to the target's folder -> blob; empty for links and submodules."""
        out = self.git("ls-tree", "-r", "-z", "--full-tree", commit, "--", *([self._prefix] if self._prefix else []))
        entries = {}
        for line in out.split(b"\0")[:-1]:
            head, _, path = line.partition(b"\t")
            mode, _, blob = head.decode().split()
            entries[os.fsdecode(path).removeprefix(self._prefix)] = blob if mode in PLAIN else ""
        return entries

    def _names_on_disk(self) -> list[str]:
        listed = self._below() if self._own else self._listed_by_git()
        found = sorted(
            name
            for name in listed
            if not SKIPPED & set(PurePosixPath(name).parts) and os.path.lexists(self.root / name)
        )
        for name in found:
            if name.endswith("/"):
                raise WorkspaceError(f"{self.root / name} is a repository of its own. Have git ignore it.")
            if why := fault(name):
                raise WorkspaceError(f"The name of the file {shown(name)} in {self.root} {why}. Rename it.")
        if pair := twins(found):
            one, other = map(shown, pair)
            raise WorkspaceError(f"{one} and {other} in {self.root} could be taken for one another. Rename one.")
        return found

    def _below(self) -> Iterator[str]:
        for place, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if name not in SKIPPED]
            for name in names:
                yield (Path(place) / name).relative_to(self.root).as_posix()

    def _listed_by_git(self) -> set[str]:
        for folder in (self.root, *self.root.parents):
            ignore = folder / ".gitignore"
            if os.path.lexists(ignore) and not ignore.is_file():  # git would wait for ever for a pipe's other end
                raise WorkspaceError(f"{ignore} is not a plain file. Remove it.")
            if folder == self.home:
                break
        # -C: a pathspec is read from where git stands, and looper may stand anywhere
        listing = self.git(
            "-C", str(self.home), "-c", f"core.excludesFile={user_excludes(self.home)}", f"--work-tree={self.home}",
            "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--full-name", "--",
            f":(literal){self._prefix}",
        )  # fmt: skip
        return {os.fsdecode(name).removeprefix(self._prefix) for name in listing.split(b"\0")[:-1]}

    # -- candidates --------------------------------------------------------------------------------------

    def candidate(self, n: int, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """Commit the champion's files with these in place of its own, as ``refs/looper/<tag>/tried/<n>``."""
        changes = b"".join(self._modify(name, data) for name, data in sorted(files.items()))
        return self._commit(self.refs.tried(n), parent, message, changes)

    def keep(self, candidate: str, champion: str, message: str) -> str:
        """The candidate's tree as a commit on top of the champion, with the result in its message."""
        return self.git("commit-tree", f"{candidate}^{{tree}}", "-p", champion, data=message.encode()).decode().strip()

    def has(self, commit: str) -> bool:
        """Whether the repository holds this commit."""
        return self.git.resolve(commit) is not None

    def _modify(self, name: str, data: bytes) -> bytes:
        mode = b"100755" if os.access(self.root / name, os.X_OK) else b"100644"
        return b"M %s inline %s\ndata %d\n%s\n" % (mode, _quoted(self._prefix + name), len(data), data)

    def _commit(self, ref: str | None, parent: str | None, message: str, changes: bytes) -> str:
        """One commit through ``git fast-import``: one process, no index, no filter, no hook."""
        name = ref or "refs/looper/unnamed"
        text = message.encode()
        who = f"looper <looper@localhost> {int(time.time())} +0000"
        head = f"feature done\ncommit {name}\nmark :1\ncommitter {who}\ndata {len(text)}\n".encode() + text + b"\n"
        origin = f"from {parent}\n".encode() if parent else b""
        stream = head + origin + changes + b"\nget-mark :1\n"
        if ref is None:  # forgotten before it is written: another session may be doing the same
            stream += f"reset {name}\n\n".encode()
        out = self.git("fast-import", "--quiet", "--force", "--cat-blob-fd=1", data=stream + b"done\n")
        return out.decode().strip()


def _own_repository(folder: Path) -> Path:
    """The repository in ``folder`` for targets that are in none; made in one step, or not at all."""
    git_dir = folder / "repo.git"
    if not git_dir.exists():
        with tempfile.TemporaryDirectory(dir=folder) as new:
            Git(Path(new, "repo.git"))("init", "--bare", "--quiet", "--template=", str(Path(new, "repo.git")))
            with contextlib.suppress(OSError):  # another session was faster
                os.rename(Path(new, "repo.git"), git_dir)
    return git_dir


def _quoted(path: str) -> bytes:
    """A path as fast-import reads it."""
    return b'"%s"' % os.fsencode(path).replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")


def _blob_id(data: bytes, like: str) -> str:
    """git's name for these bytes, in a repository that has commits like this one (SHA-1 or SHA-256)."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def locate(root: Path) -> tuple[Path, Path | None]:
    """Where the sessions of the target in ``root`` live: (the folder with ``.looper/``, its git directory).

    The repository whose checkout the target is part of; else no repository (None), and the target's own folder,
    or the current one for a target that was installed as a package.
    """
    root = root.resolve()
    if is_installed(root):
        return Path.cwd(), None
    found = repository_of(root)
    if found is not None and (root == found[0] or not _is_ignored(root, *found)):
        return found
    return root, None


def _is_ignored(folder: Path, top: Path, git_dir: Path) -> bool:
    return Git(git_dir).run(f"--work-tree={top}", "check-ignore", "--quiet", str(folder)).returncode == 0


def tree_id(files: Mapping[str, bytes]) -> str:
    """A hash of the editable files: equal for the same candidate, whatever its parent."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{len(name)} {name} {len(data)}\n".encode() + data)
    return digest.hexdigest()
