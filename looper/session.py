"""Puts the parts of a session together: opens or resumes it, runs the loop, closes it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import pluggy

from looper import hardware, loop
from looper.errors import LedgerError, ProposerError, SessionError
from looper.identity import Identity, locked_files
from looper.lab import Lab, View
from looper.ledger import Ledger
from looper.models import Target
from looper.places import FOLDER, ledger_path, make_folder, next_tag, tags
from looper.record import Record
from looper.runner import LocalRunner, slots_for
from looper.stop import Request, Stop
from looper.workspace import Workspace, locate

SANDBOX = "process"


@dataclass
class Session:
    """An open session. ``notes`` tell what was found and mended on the way."""

    lab: Lab
    stop: Stop
    tag: str
    home: Path
    resumed: bool
    notes: list[str]
    lock: IO[str]

    def run(self) -> str:
        """Run the loop until it ends; returns why.

        The first Ctrl-C lets the running experiments finish; the second, or SIGTERM, ends them. Either way
        everything is on record and the session can be resumed.

        Raises:
            KeyboardInterrupt: when it was told to end at once.
        """
        reason = "interrupted at once"
        try:
            with _interruptible(self):
                reason = loop.run(self.lab, self.stop)
        except Exception as error:
            reason = f"failed: {error}"
            raise
        finally:
            self.lab.runner.close()
            with contextlib.suppress(LedgerError):  # a full disk was reported already
                self.lab.write("closed", reason=reason)
            self.lab.ledger.close()
            self.lock.close()
        return reason


def open_session(plugins: pluggy.PluginManager, target: Target, request: Request, view: View) -> Session:
    """Open a new session on ``target``, or resume the one of that tag.

    Raises:
        SessionError, LedgerError, WorkspaceError, ProposerError: when it cannot be as asked.
    """
    facts: dict[str, str] = {}
    for found in plugins.hook.looper_prepare(target=target):
        facts |= found or {}
    home, _ = locate(target.root)
    tag = _tag(home, target, request)
    workspace = Workspace(target.root, tag)
    folder = make_folder(home) / tag
    folder.mkdir(exist_ok=True)
    lock = _lock(folder, tag)
    ledger = Ledger(ledger_path(home, tag))
    record = Record.of(ledger.events())
    notes = []
    if ledger.torn:
        notes.append(
            f"The ledger's last line was torn ({len(ledger.torn)} bytes); it was set aside, nothing else is lost."
        )
    identity = Identity.of(target, facts, SANDBOX, workspace.files_on_disk())
    resumed = record.champion is not None
    if resumed:
        identity.must_match(record.opened["identity"], tag)
        base = str(record.opened["base"])
    else:
        base = workspace.snapshot(f"{target.name} as looper found it\n")
    previous = record.opened.get("base")
    slots = slots_for(target, request.slots, hardware.gpus())
    record.apply(
        ledger.append(
            "opened", format=1, tag=tag, base=base, identity=identity.as_dict(), environment=identity.environment,
            proposer=request.proposer, slots=len(slots), options=dict(request.options),
        )
    )  # fmt: skip
    notes += _settle_branch(workspace, record, base, previous)
    files = workspace.files_at(record.champion.head if record.champion else base)
    proposer = plugins.hook.looper_proposer(name=request.proposer, target=target, options=dict(request.options))
    if proposer is None:
        raise ProposerError(f"There is no proposer {request.proposer!r}. looper brings search and replay.")
    editable = {name: files[name] for name in target.editable}
    runner = LocalRunner(target, folder / "slots", locked_files(target, files), facts, slots, SANDBOX)
    lab = Lab(
        target=target,
        proposer=proposer,
        judge=lambda champion, measurement: plugins.hook.looper_judge(
            target=target, champion=champion, measurement=measurement
        ),
        workspace=workspace,
        runner=runner,
        ledger=ledger,
        record=record,
        environment=identity.environment,
        base=base,
        files=editable,
        view=view,
    )
    return Session(lab, Stop(target, request), tag, home, resumed, notes, lock)


def _tag(home: Path, target: Target, request: Request) -> str:
    tag = request.tag or target.name
    if request.fresh:
        return next_tag(home, tag)
    if request.resume and tag not in tags(home):
        others = ", ".join(tags(home)) or "none"
        raise SessionError(f"There is no session {tag!r} to resume in {home / FOLDER}. Sessions there: {others}.")
    return tag


def _lock(folder: Path, tag: str) -> IO[str]:
    """Hold the session until the file is closed or the process ends, however it ends."""
    file = open(folder / "lock", "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise SessionError(
            f"The session {tag!r} is in use by {holder}. Wait for it to end, or start another with --fresh."
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()}")
    file.flush()
    return file


def _settle_branch(workspace: Workspace, record: Record, base: str, previous: str | None) -> list[str]:
    """Make the branch what the ledger says; only a step that looper itself had left undone is made.

    Raises:
        WorkspaceError, SessionError: when somebody else moved it, or its commit is gone.
    """
    champion = record.champion
    wanted = champion.head if champion else base
    if not workspace.has(wanted):
        raise SessionError(
            f"The champion's commit {wanted[:12]} is not in the repository. Fetch it, or start a new session with --fresh."
        )
    found = workspace.head()
    if found == wanted:
        return []
    if found is None:
        workspace.move_branch(wanted, None)
        return [f"The branch {workspace.branch_name} was gone; it is back."] if champion else []
    if found in ((champion.parent,) if champion else (previous,)):
        workspace.move_branch(wanted, found)  # looper ended between writing the verdict and moving the branch
        return []
    raise SessionError(
        f"The branch {workspace.branch_name} is on {found[:12]}, the ledger's champion is {wanted[:12]}: somebody moved it. "
        f"To go on, put it back with: git branch -f {workspace.branch_name} {wanted[:12]} "
        "(your commits stay reachable through another branch), or start a new session with --fresh."
    )


@contextmanager
def _interruptible(session: Session) -> Iterator[None]:
    """Ctrl-C once: finish what runs. Twice, or SIGTERM or SIGHUP: end it now."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and not session.stop.interrupted:
            session.stop.interrupted = True
            session.lab.view.interrupted()
            return
        for handled in signals:
            signal.signal(handled, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
