"""The names that git knows a session's commits by, and what may stand in their way.

``refs/heads/looper/<tag>`` is the branch: the user's to look at, check out, or move by mistake.
``refs/looper/<tag>/champion`` is the same commit under a name that nobody else touches, so that the champion
stays reachable whatever becomes of the branch; ``refs/looper/<tag>/tried/<n>`` are the candidates.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Collection
from pathlib import Path

from looper.errors import WorkspaceError
from looper.gitrepo import Git

LOCK_S = 2.0  # git holds a lock for milliseconds; one older than this was left by a machine that went down


class Refs:
    """The names of one session."""

    def __init__(self, git: Git, tag: str) -> None:
        self.name = f"looper/{tag}"
        self._git = git
        self._branch = f"refs/heads/{self.name}"
        self._own = f"refs/looper/{tag}"
        self._champion = f"{self._own}/champion"

    def tried(self, n: int) -> str:
        """The name of the candidate of experiment ``n``."""
        return f"{self._own}/tried/{n}"

    def set(self, name: str, commit: str) -> None:
        """Have one of looper's own names mean ``commit``."""
        self._git("update-ref", "--no-deref", name, commit)

    def check_free(self, *, new: bool) -> None:
        """Look for what stands in the way; a ``new`` session must find nothing of its name.

        A name that leads to another one is in the way always: what is written to it would be written there.

        Raises:
            WorkspaceError: naming it, and what to do.
        """
        for link in self._linked_folders():
            raise WorkspaceError(f"{link} is a link, so that {self.name} could be another branch. Remove it.")
        for line in self._git("for-each-ref", "--format=%(symref) %(refname)", self._branch, self._own).splitlines():
            leads_to, _, name = os.fsdecode(line).partition(" ")
            if leads_to:
                raise WorkspaceError(
                    f"{name} is not a name of its own, it leads to {leads_to}. Remove it with: "
                    f"git symbolic-ref --delete {shlex.quote(name)}"
                )
        if self._git.resolve("refs/heads/looper"):
            raise WorkspaceError(
                f"There is a branch named 'looper', beside which git can have no branch {self.name!r}. "
                "Rename it with: git branch -m looper looper-old"
            )
        if new and self._git("for-each-ref", "--count=1", self._branch, self._own):
            raise WorkspaceError(
                f"The repository has a branch {self.name}, or candidates of a session of that name, but the ledger is "
                "not here: it is in another checkout of this repository, or was deleted. They stay as they are: "
                "start a session of another name with --tag NAME, or with --fresh."
            )

    def open_locks(self) -> None:
        """Remove the locks that a git which died with its machine left on this session's names.

        Only the holder of the session may call this: nobody else has business with these names for longer
        than an instant, and an instant is waited for.
        """
        folder = self._folder()
        locks = [folder / f"{self._branch}.lock"]
        for place, _, names in os.walk(folder / self._own):  # which follows no links
            locks += [Path(place, name) for name in names if name.endswith(".lock")]
        for lock in locks:
            while lock.exists():
                if time.time() - lock.stat().st_mtime > LOCK_S:
                    lock.unlink(missing_ok=True)
                else:
                    time.sleep(0.05)

    def _folder(self) -> Path:
        """The folder in which references are files."""
        return Path(os.fsdecode(self._git("rev-parse", "--git-path", "refs").removesuffix(b"\n"))).parent

    def _linked_folders(self) -> list[Path]:
        """Folders on the way to this session's names that are links; the whole of ``refs`` may be one."""
        folder = self._folder()
        names = [Path(self._branch), Path(self._own, "tried", "0")]
        return [link for name in names for below in list(name.parents)[:-2] if (link := folder / below).is_symlink()]

    def follow(self, champion: str, former: str, known: Collection[str]) -> str:
        """Put the branch on ``champion`` and return what the user should know about it, mostly nothing.

        A branch that is checked out somewhere is left where it is: moved, it would make that checkout look
        changed. It catches up as soon as it is free.

        Args:
            champion: the commit that the ledger says it is on.
            former: where looper expects it.
            known: commits that are not lost when it leaves them: earlier champions of this session.

        Raises:
            WorkspaceError: when somebody else put it on a commit of theirs, or git refuses.
        """
        self.set(self._champion, champion)
        format_ = "--format=%(objectname) %(worktreepath)"
        at, _, place = self._git("for-each-ref", format_, self._branch).decode(errors="replace").strip().partition(" ")
        if at == champion:
            return ""
        if at and at not in known:
            raise WorkspaceError(
                f"The branch {self.name} is on {at[:12]}, the ledger's champion is {champion[:12]}: somebody moved it. "
                f"Nothing is lost. Keep what is there under another name and put it back with: "
                f"git branch -m {self.name} mine && git branch {self.name} {champion[:12]}"
            )
        if place:
            return (
                f"The branch {self.name} is checked out in {place}, so it stays on {at[:12]} for now; the champion is "
                f"{champion[:12]}. It follows once it is free: git -C {shlex.quote(place)} switch --detach"
            )
        self._git("update-ref", "--no-deref", "-m", "looper", self._branch, champion, at)
        if at and at != former:
            return f"The branch {self.name} was behind, on {at[:12]}; it is on the champion {champion[:12]} again."
        return "" if at or champion == former else f"The branch {self.name} was gone; it is back."


def taken_tags(git: Git) -> set[str]:
    """Every tag that a branch or a candidate in the repository has; none where there is no repository yet."""
    done = git.run("for-each-ref", "--format=%(refname)", "refs/heads/looper", "refs/looper")
    names = done.stdout.decode(errors="replace").split()
    return {name.partition("looper/")[2].partition("/")[0] for name in names}
