"""Proposer ``replay``: proposes known changes in order, from a folder of patches or another session's keeps.

A change that does not fit the champion waits: it is tried again on every later champion, since the change
that it builds on may be one that is still being measured. What never fitted is named when the others have run out,
and each proposal's meta names the changes that were passed over for it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from looper.errors import ProposerError
from looper.gitrepo import merge
from looper.hookspecs import hookimpl
from looper.models import Context, Experiment, Option, Proposal, Proposer

NAME = "replay"

#: Leading folders that a patch's paths may have before the path inside the target, most likely first.
STRIPS = (1, 0, 2, 3, 4, 5, 6, 7, 8)

_DIFF = re.compile(r"^(diff --git |Index: |--- )", re.MULTILINE)
_SUBJECT = re.compile(r"^Subject: *(?:\[[^\]]*\] *)?(.+)$", re.MULTILINE)

log = logging.getLogger(__name__)


@hookimpl
def looper_options() -> Sequence[Option]:
    return [
        Option(
            "from",
            None,
            "what replay proposes: a folder of .patch or .diff files, or the keeps of the session of that tag",
        )
    ]


@hookimpl
def looper_proposer(name: str, options: Mapping[str, Any]) -> Proposer | None:
    if name != NAME:
        return None
    if not options.get("from"):
        raise ProposerError(
            "The proposer replay needs what to replay: --from FOLDER, a folder of patches, or --from TAG."
        )
    return Replay(load_folder(Path(options["from"])))


class DoesNotFit(Exception):
    """A change cannot be applied to these files; the message says why, in a few words."""


class Change(Protocol):
    """Something that can be done to the files of a champion."""

    @property
    def digest(self) -> str:
        """The same for the same change, in this run of looper and in the next."""

    def apply(self, files: Mapping[str, str]) -> dict[str, str]:
        """The files that it changes, with their new text. Raises `DoesNotFit`."""


@dataclass(frozen=True)
class Item:
    """A change, and why it is proposed."""

    hypothesis: str
    change: Change


class Replay(Proposer):
    """Proposes each of ``items`` once.

    A proposal's meta holds ``item``, its place in the list from 0, ``change``, the digest by which it is known
    again after a restart, and ``waiting``, the changes before it that did not fit, each with the reason.
    """

    name = NAME

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = tuple(items)
        if not self.items:
            raise ProposerError("There is nothing to replay: the list of changes is empty.")
        self._refused: dict[tuple[str, str], str] = {}  # (champion, change) -> why it does not fit

    def propose(self, context: Context) -> Proposal | None:
        """The first change not proposed yet that fits the champion; None when none does.

        Raises:
            ProposerError: none of the changes ever fitted.
        """
        proposed = [e for e in (*context.history, *context.pending) if e.proposer == NAME]
        # A stale one was never measured on the champion of its time, and may fit a later one.
        done = {e.meta.get("change") for e in proposed if e.verdict != "stale"}
        waiting: dict[str, str] = {}
        for place, item in enumerate(self.items):
            if item.change.digest in done:
                continue
            attempt = (context.champion.head, item.change.digest)
            if attempt not in self._refused:
                try:
                    files = _applied(item.change, context.files)
                except DoesNotFit as reason:
                    self._refused[attempt] = str(reason)
                else:
                    meta = {"item": place, "change": item.change.digest, "waiting": waiting}
                    return Proposal(files, item.hypothesis, meta)
            waiting[item.hypothesis] = self._refused[attempt]
        reasons = "".join(f"\n  {hypothesis}: {reason}" for hypothesis, reason in waiting.items())
        if waiting and not proposed:
            raise ProposerError(f"None of the changes to replay fits this target:{reasons}")
        if waiting and not context.pending:
            log.warning("Not replayed, because they do not fit the champion:%s", reasons)
        return None

    def reapply(self, proposal: Experiment, files: Mapping[str, str]) -> Mapping[str, str] | None:
        """The same change on another champion's ``files``, None when it does not fit them."""
        for item in self.items:
            if item.change.digest == proposal.meta.get("change"):
                try:
                    return _applied(item.change, files)
                except DoesNotFit:
                    return None
        return None


def load_folder(folder: Path) -> list[Item]:
    """The ``*.patch`` and ``*.diff`` files of a folder in name order.

    The hypothesis is the subject of a mailed patch, else the first line before the diff, else the file's name.

    Raises:
        ProposerError: there is no such folder, it holds no patch, or a file is not a patch.
    """
    if not folder.is_dir():
        raise ProposerError(f"There is no folder {folder} of patches, nor a session of that tag here, to replay.")
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".patch", ".diff") and path.is_file())
    if not paths:
        raise ProposerError(f"The folder {folder} holds no .patch or .diff file to replay.")
    return [_load(path) for path in paths]


def from_commits(commits: Iterable[tuple[str, Mapping[str, str], Mapping[str, str]]]) -> list[Item]:
    """Kept commits, oldest first, each as (hypothesis, editable files before it, editable files after it)."""
    return [Item(hypothesis, Rewrite(dict(old), dict(new))) for hypothesis, old, new in commits]


@dataclass(frozen=True)
class Patch:
    """A unified diff, applied by ``git apply``: the context lines must be there, their position may differ."""

    data: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:16]

    def apply(self, files: Mapping[str, str]) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix="looper-replay-") as name:
            folder = Path(name)
            strip = self._strip(folder, files)
            _write(folder, files)
            done = _git(folder, "apply", "--whitespace=nowarn", f"-p{strip}", "-", data=self.data)
            if done.returncode:
                raise DoesNotFit(_first_error(done))
            if gone := [path for path in files if not (folder / path).is_file() or (folder / path).is_symlink()]:
                raise DoesNotFit(f"it removes {gone[0]}")
            return {path: _read(folder / path) for path in files}

    def paths(self, folder: Path, strip: int) -> list[str]:
        """What the patch touches, without ``strip`` leading folders; empty when git cannot read it so."""
        listed = _git(folder, "apply", "--numstat", "-z", f"-p{strip}", "-", data=self.data)
        if listed.returncode:
            return []
        lines = listed.stdout.decode(errors="surrogateescape").split("\0")
        return [line.split("\t", 2)[2] for line in lines if line]  # added, removed, path

    def _strip(self, folder: Path, files: Mapping[str, str]) -> int:
        for strip in STRIPS:
            if (paths := self.paths(folder, strip)) and set(paths) <= files.keys():
                return strip
        outside = [path for path in self.paths(folder, 1) if path not in files]
        raise DoesNotFit(f"it changes {outside[0] if outside else 'a file'}, which is not editable")


@dataclass(frozen=True)
class Rewrite:
    """Old and new text of files, merged three ways with the champion's."""

    old: Mapping[str, str]
    new: Mapping[str, str]

    @property
    def digest(self) -> str:
        both = repr((sorted(self.old.items()), sorted(self.new.items())))
        return hashlib.sha256(both.encode(errors="surrogateescape")).hexdigest()[:16]

    def apply(self, files: Mapping[str, str]) -> dict[str, str]:
        changed = [path for path in {**self.old, **self.new} if self.old.get(path) != self.new.get(path)]
        merged: dict[str, str] = {}
        for path in changed:
            if path not in files or path not in self.old or path not in self.new:
                raise DoesNotFit(f"it changes {path}, which is not editable here")
            old, champion, new = (
                text.encode(errors="surrogateescape") for text in (self.old[path], files[path], self.new[path])
            )
            both = merge(base=old, ours=champion, theirs=new)
            if both is None:
                raise DoesNotFit(f"the champion has changed the same lines of {path}")
            merged[path] = both.decode(errors="surrogateescape")
        return merged


def _applied(change: Change, files: Mapping[str, str]) -> dict[str, str]:
    changed = {path: text for path, text in change.apply(files).items() if text != files[path]}
    if not changed:
        raise DoesNotFit("the champion has it already")
    return changed


def _load(path: Path) -> Item:
    patch = Patch(path.read_bytes())
    with tempfile.TemporaryDirectory(prefix="looper-replay-") as folder:
        if not any(patch.paths(Path(folder), strip) for strip in STRIPS):
            raise ProposerError(f"{path} holds no diff that git can read. Write it with git diff, or take it away.")
    text = patch.data.decode(errors="replace")
    start = _DIFF.search(text)
    prose = text[: start.start()] if start else ""
    subject = _SUBJECT.search(prose)
    lines = [line.strip() for line in prose.splitlines() if line.strip()]
    return Item(subject[1].strip() if subject else lines[0] if lines else path.stem, patch)


def _git(folder: Path, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """git as a tool on plain files: outside any repository, without anyone's configuration."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CEILING_DIRECTORIES": str(folder.resolve().parent),
    }
    try:
        return subprocess.run(["git", *arguments], cwd=folder, env=environment, input=data, capture_output=True)
    except FileNotFoundError:
        raise ProposerError("The proposer replay needs git, and there is none on the PATH.") from None


def _first_error(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").splitlines() or ["git apply refused it"]
    return lines[0].removeprefix("error: ").replace("patch failed: ", "the champion differs around ")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode(errors="surrogateescape"))


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")
