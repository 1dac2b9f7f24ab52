"""What another session kept, as changes to replay."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from looper.errors import ProposerError
from looper.ledger import read
from looper.models import Target
from looper.places import ledger_path
from looper.proposers.replay import Replay, from_commits
from looper.record import Record
from looper.workspace import Workspace


def replay_of(target: Target, tag: str, place: tuple[Path, Path | None]) -> Replay:
    """The keeps of the session ``tag`` in the same ``place`` (see :func:`looper.workspace.locate`), oldest first.

    Raises:
        ProposerError: when it kept nothing.
        LedgerError: when its ledger cannot be read.
    """
    record = Record.of(read(ledger_path(place[0], tag)))
    workspace = Workspace(target.root, tag, place)

    def texts(commit: str) -> dict[str, str]:
        files = workspace.files_at(commit)
        return {name: files[name].decode() for name in target.editable if name in files}

    changes = [(new.hypothesis, texts(old.head), texts(new.head)) for old, new in pairwise(record.kept())]
    if not changes:
        raise ProposerError(f"The session {tag!r} kept nothing, so there is nothing to replay from it.")
    return Replay(from_commits(changes))
