"""Puts the parts of a session together: opens or resumes it, runs the loop, closes it."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, get_args

import pluggy

from looper import hardware, loop
from looper import plugins as plugin
from looper.errors import LooperError, SessionError, TargetError
from looper.gitrepo import Git
from looper.identity import Identity, check_files, locked_files
from looper.interrupt import interruptible
from looper.isolation import choose
from looper.kept import replay_of
from looper.lab import Lab, View
from looper.ledger import Ledger
from looper.models import Decision, Experiment, Measurement, Proposer, Target, Verdict
from looper.places import FOLDER, is_tag, ledger_path, make_folder, next_tag, tags
from looper.proposers import replay
from looper.record import FORMAT, Record
from looper.refs import taken_tags
from looper.runner import LocalRunner, slots_for
from looper.stop import Request, Stop
from looper.workspace import Workspace, locate, tree_id

LOCK_TRIES = 20  # a process that a killed looper was just starting may hold the lock for an instant


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
            LooperError: when it cannot go on; the session can be resumed once that is mended.
        """
        reason = "interrupted at once"
        with interruptible(self._finish), _disk_errors_told():
            try:
                reason = loop.run(self.lab, self.stop)
            except Exception as error:
                reason = f"failed: {error}"
                raise
            finally:
                self._close(reason)
        return reason

    def _finish(self) -> None:
        self.stop.interrupted = True
        self.lab.view.interrupted()

    def _close(self, reason: str) -> None:
        self.lab.runner.close()
        with contextlib.suppress(LooperError):  # a full disk, a branch that was moved: told already
            self.lab.write("closed", reason=reason)
            if champion := self.lab.record.champion:
                self.lab.workspace.refs.follow(champion.head, champion.parent, self.lab.record.heads())
        self.lab.ledger.close()
        self.lock.close()


def open_session(plugins: pluggy.PluginManager, target: Target, request: Request, view: View) -> Session:
    """Open a new session on ``target``, or resume the one of that tag.

    Raises:
        SessionError, LedgerError, WorkspaceError, ProposerError, TargetError: when it cannot be as asked.
    """
    with _disk_errors_told(), contextlib.ExitStack() as opened:
        place = locate(target.root)
        tag = _tag(target, request, *place)
        workspace = Workspace(target.root, tag, place)
        folder = make_folder(workspace.home) / tag
        folder.mkdir(exist_ok=True)
        lock = opened.enter_context(_lock(folder, tag))
        facts = plugin.facts_of(plugins, target)
        proposer = _proposer(plugins, target, request, place)
        on_disk = check_files(target, workspace.files_on_disk())
        isolation = choose(request.isolation)
        identity = Identity.of(target, facts, isolation, on_disk)
        path = ledger_path(workspace.home, tag)
        workspace.refs.check_free(new=not (path.is_file() and path.stat().st_size))
        workspace.refs.open_locks()
        ledger = opened.enter_context(contextlib.closing(Ledger(path)))
        record = Record.of(ledger.events())
        notes = _told_of(ledger)
        slots = slots_for(target, request.slots, hardware.gpus())
        resumed = record.champion is not None
        if resumed:
            identity.must_match(record.opened["identity"], tag)
            base = str(record.opened["base"])
            notes += _settle(workspace, record)
        else:
            base = workspace.snapshot(on_disk, record.opened.get("base"), f"{target.name} as looper found it\n")
        record.apply(
            ledger.append(
                "opened", format=FORMAT, tag=tag, base=base, identity=identity.as_dict(),
                environment=identity.environment, proposer=request.proposer, slots=len(slots),
                options=dict(request.options),
            )
        )  # fmt: skip
        opened.push(_closing(ledger))
        if not resumed:  # on record first: a name without a ledger would be a stranger's
            workspace.refs.set(workspace.refs.tried(0), base)
            workspace.refs.follow(base, base, record.heads())
        files = _unmoved(target, record, workspace.files_at(record.champion.head if record.champion else base))
        locked = locked_files(target, on_disk)
        lab = Lab(
            target=target,
            proposer=proposer,
            judge=_judge(plugins, target),
            notify=_notify(plugins, target),
            workspace=workspace,
            runner=LocalRunner(target, folder / "slots", locked, facts, slots, isolation.sandbox),
            ledger=ledger,
            record=record,
            environment=identity.environment,
            base=base,
            files=files,
            view=view,
            notes=notes,
        )
        opened.pop_all()
        return Session(lab, Stop(target, request), tag, workspace.home, resumed, notes, lock)


def _tag(target: Target, request: Request, home: Path, git_dir: Path | None) -> str:
    tag = request.tag or target.name
    if not is_tag(tag):
        raise SessionError(f"{tag!r} cannot be a tag: use letters, digits, '-', '_' and single dots within.")
    if request.fresh:
        return next_tag(tag, {*tags(home), *taken_tags(Git(git_dir or home / FOLDER / "repo.git"))})
    if request.resume and tag not in tags(home):
        others = ", ".join(tags(home)) or "none"
        raise SessionError(f"There is no session {tag!r} to resume in {home / FOLDER}. Sessions there: {others}.")
    return tag


def _proposer(
    plugins: pluggy.PluginManager, target: Target, request: Request, place: tuple[Path, Path | None]
) -> Proposer:
    """The proposer asked for; sessions to replay are known here. A folder of a session's name is ``./NAME``."""
    source = request.options.get("from")
    if request.proposer == replay.NAME and source in tags(place[0]):
        return replay_of(target, source, place)
    return plugin.proposer_of(plugins, request.proposer, target, request.options)


def _lock(folder: Path, tag: str) -> IO[str]:
    """Hold the session until the file is closed or the process ends, however it ends."""
    file = open(folder / "lock", "a+")
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
            continue
        with contextlib.suppress(OSError):  # a full disk: it is held all the same
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"process {os.getpid()}".encode())
        return file
    file.seek(0)
    holder = file.read().strip() or "another process"
    file.close()
    raise SessionError(f"The session {tag!r} is in use by {holder}. Wait for it to end, or start another with --fresh.")


def _unmoved(target: Target, record: Record, files: dict[str, bytes]) -> dict[str, bytes]:
    """The champion's editable files, if it has them where the target's folder is now, and they are those on record.

    Raises:
        SessionError: when the folder was moved since, or the repository holds other files under the commit's name.
    """
    if not files.keys() >= set(target.editable):
        raise SessionError(
            f"The session's champion has no target in {target.root}: the folder was moved or renamed since it began. "
            "Move it back, or start a new session with --fresh."
        )
    editable = {name: files[name] for name in target.editable}
    if record.champion and tree_id(editable) != record.champion.tree:
        raise SessionError(
            f"The champion's commit {record.champion.head[:12]} holds other files than the ones that were measured: "
            "the repository was changed from outside. `git fsck` may say more; start a new session with --fresh."
        )
    return editable


def _closing(ledger: Ledger) -> Callable[[object, BaseException | None, object], None]:
    """What to do when opening fails although the ledger says that the session is open."""

    def close(_kind: object, error: BaseException | None, _trace: object) -> None:
        with contextlib.suppress(LooperError):
            ledger.append("closed", reason=f"failed: {error}" if str(error) else "interrupted at once")

    return close


def _told_of(ledger: Ledger) -> list[str]:
    if not ledger.torn:
        return []
    return [
        f"The ledger's last line was torn ({len(ledger.torn)} bytes): looper ended while it was written. It was put "
        f"into {ledger.path.with_suffix('.torn').name}; nothing else is lost."
    ]


def _settle(workspace: Workspace, record: Record) -> list[str]:
    """Make the branch what the ledger says it is; only what looper itself left undone is done.

    Raises:
        WorkspaceError, SessionError: when somebody else moved it, or its commit is gone.
    """
    champion = record.champion
    assert champion is not None
    if not workspace.has(champion.head):
        raise SessionError(
            f"The champion's commit {champion.head[:12]} is not in the repository {workspace.git.git_dir}. Fetch it "
            "from where the session was run, or start a new session with --fresh."
        )
    note = workspace.refs.follow(champion.head, champion.parent, record.heads())
    return [note] if note else []


def _judge(plugins: pluggy.PluginManager, target: Target) -> Callable[[Experiment, Measurement], Decision]:
    def judge(champion: Experiment, measurement: Measurement) -> Decision:
        with plugin.blaming("looper_judge()"):
            decision = plugins.hook.looper_judge(target=target, champion=champion, measurement=measurement)
        if not (isinstance(decision, Decision) and decision.verdict in get_args(Verdict)):
            raise TargetError(f"looper_judge() returned {decision!r}; it must return a looper.models.Decision.")
        finite = decision.gain is not None and math.isfinite(decision.gain)
        return decision if finite else replace(decision, gain=None)

    return judge


def _notify(plugins: pluggy.PluginManager, target: Target) -> Callable[[Experiment], str]:
    def notify(experiment: Experiment) -> str:
        try:
            with plugin.blaming("looper_experiment()"):
                plugins.hook.looper_experiment(target=target, experiment=experiment)
        except LooperError as error:  # a message that could not be sent is no reason to stop
            return str(error)
        return ""

    return notify


@contextmanager
def _disk_errors_told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SessionError(
            f"{error.filename or 'A file'}: {error.strerror}. What is on record is safe; mend that and run the same "
            "command again."
        ) from error
