"""The parts of a session, and the single steps that the loop is made of."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from looper.errors import ProposerError, TargetError, WorkspaceError
from looper.gitrepo import merge
from looper.ledger import Ledger
from looper.models import Context, Decision, Experiment, Measurement, Proposal, Proposer, Target
from looper.plugins import blaming
from looper.proposal import check, diff_size, kept_message, tidy
from looper.record import Record
from looper.runner import Done, Job, LocalRunner, Progress
from looper.workspace import Workspace, tree_id

ATTEMPTS = 3  # how often an experiment is measured, on champions that keep moving, before it is stale
LOG_SHOWN = 20  # lines of a failed baseline's log in its message


class View(Protocol):
    """Who watches the loop."""

    def tick(self, running: list[Progress]) -> None: ...
    def decided(self, experiment: Experiment) -> None: ...
    def interrupted(self) -> None: ...


@dataclass
class Lab:
    """Whatever changes here was written to the ledger before."""

    target: Target
    proposer: Proposer
    judge: Callable[[Experiment, Measurement], Decision]
    notify: Callable[[Experiment], str]  # tells whoever wants to know of a verdict; returns why it could not
    workspace: Workspace
    runner: LocalRunner
    ledger: Ledger
    record: Record
    environment: str  # identifies the hardware, versions and inputs that measurements are made with
    base: str  # the commit of the unedited target
    files: dict[str, bytes]  # the champion's editable files
    view: View
    notes: list[str]  # what the user should know when the session ends
    barren: int = field(default=0, init=False)  # proposals in a row that were no new candidate
    faults: int = field(default=0, init=False)  # evaluators in a row that failed by themselves

    @property
    def champion(self) -> Experiment:
        assert self.record.champion is not None, "asked for before the baseline was measured"
        return self.record.champion

    def texts(self) -> dict[str, str]:
        """The champion's editable files as text."""
        return {name: data.decode() for name, data in self.files.items()}

    def wait(self) -> list[Done]:
        """Measurements that ended, at least one."""
        return self.runner.wait(lambda: self.view.tick(self.runner.running()))

    def ask(self) -> Proposal | None:
        """The proposer's next proposal, None when it has nothing left.

        Raises:
            ProposerError: when it fails, or returns something else.
        """
        pending = tuple(self.record.pending.values())
        context = Context(self.target, self.texts(), self.champion, self.record.history, pending)
        with blaming(f"The proposer {self.proposer.name}", ProposerError):
            proposal = self.proposer.propose(context)
        if not (proposal is None or isinstance(proposal, Proposal)):
            raise ProposerError(
                f"The proposer {self.proposer.name} returned a {type(proposal).__name__}, not a Proposal."
            )
        return proposal

    def admit(self, proposal: Proposal) -> tuple[Job, Decision | None]:
        """Commit a proposal and put it on record; with a decision at once when it is no new candidate."""
        n, parent = self.record.next_n, self.champion.head
        fault = check(self.target, proposal)
        proposal = tidy(proposal, keep_meta=not fault)
        files = self.files if fault else self.files | _encoded(proposal.files)
        first = self.record.first_with_tree(tree_id(files))
        decision = None
        if fault:
            decision = Decision("invalid", fault)
        elif first is not None:
            decision = Decision("duplicate", f"the same files as experiment {first}")
        self.barren = self.barren + 1 if decision else 0
        commit = self.workspace.candidate(n, parent, files, proposal.hypothesis)
        return self.enter(n, proposal, self.proposer.name, parent, commit, files), decision

    def enter(
        self,
        n: int,
        proposal: Proposal,
        proposer: str,
        parent: str,
        commit: str,
        files: Mapping[str, bytes],
        attempt: int = 1,
    ) -> Job:
        """Put a proposal on record, before anything runs."""
        self.write(
            "proposed",
            n=n,
            attempt=attempt,
            parent=parent,
            commit=commit,
            tree=tree_id(files),
            proposer=proposer,
            hypothesis=proposal.hypothesis,
            meta=dict(proposal.meta),
            cost_usd=proposal.cost_usd,
            tokens=proposal.tokens,
            diff=diff_size(self.files, files),
        )
        return Job(self.record.pending[n], files, secrets.randbits(63))

    def job(self, n: int) -> Job:
        """The job of an experiment that is on record and has no verdict, its files read back from its commit."""
        experiment = self.record.pending[n]
        files = self.workspace.files_at(experiment.commit)
        return Job(experiment, {name: files[name] for name in self.target.editable}, secrets.randbits(63))

    def note(self, done: Done) -> None:
        """Put a measurement on record."""
        n, measurement = done.job.experiment.n, done.measurement
        self.write("measured", n=n, environment=self.environment, **asdict(measurement))
        self.faults = self.faults + 1 if measurement.status == "infra" else 0

    def overtaken(self, job: Job) -> bool:
        """Whether the champion that this job changed has been succeeded since."""
        return job.experiment.parent != self.champion.head

    def promising(self, job: Job, measurement: Measurement) -> bool:
        """Whether it beat the very champion that it changed, or beats the present one as it is."""
        changed = self.record.with_head(job.experiment.parent)
        return any(self.judge(champion, measurement).verdict == "keep" for champion in (changed, self.champion))

    def reapply(self, job: Job, measurement: Measurement) -> None:
        """Put a promising change on the present champion and measure it there, or call it stale."""
        experiment, parent = job.experiment, self.champion.head
        files = self.moved(job) if experiment.attempt < ATTEMPTS else None
        first = None if files is None else self.record.first_with_tree(tree_id(files))
        if files is None:
            why = "it no longer fits" if experiment.attempt < ATTEMPTS else f"overtaken {ATTEMPTS} times"
            self.decide(job, Decision("stale", f"{why}: the champion is experiment {self.champion.n} now"))
        elif first == experiment.n:  # it has all that the champion has: this is its measurement there
            self.decide(job, self.judge(self.champion, measurement), measurement)
        elif first is not None:
            self.decide(job, Decision("duplicate", f"on the champion of now, the same files as experiment {first}"))
        else:
            commit = self.workspace.candidate(experiment.n, parent, files, experiment.hypothesis)
            proposal = Proposal({}, experiment.hypothesis, experiment.meta)
            attempt = experiment.attempt + 1
            self.runner.submit(self.enter(experiment.n, proposal, experiment.proposer, parent, commit, files, attempt))

    def moved(self, job: Job) -> dict[str, bytes] | None:
        """The job's change on top of the present champion's files, None when it does not fit.

        Raises:
            ProposerError: when its proposer fails at it.
        """
        changed = None
        if job.experiment.proposer == self.proposer.name:  # a resumed session may have another one
            with blaming(f"The proposer {self.proposer.name}", ProposerError):
                changed = self.proposer.reapply(job.experiment, self.texts())
        if changed is not None:
            fits = not check(self.target, Proposal(changed, ""))
            return self.files | _encoded(changed) if fits else None
        base = self.workspace.files_at(job.experiment.parent)
        files = {}
        for name, ours in self.files.items():
            merged = merge(base[name], ours, job.files[name])
            if merged is None:
                return None
            files[name] = merged
        return files

    def decide(self, job: Job, decision: Decision, measurement: Measurement | None = None) -> None:
        """Put a verdict on record; only after that does the branch move.

        Raises:
            TargetError: when it was the baseline that failed.
        """
        experiment, champion = job.experiment, self.record.champion
        head = champion.head if champion else self.base
        if decision.verdict == "keep" and champion and measurement:
            message = kept_message(self.target, champion, experiment, measurement)
            head = self.workspace.keep(experiment.commit, champion.head, message)
        verdict = asdict(decision)
        self.write("decided", n=experiment.n, head=head, **verdict)
        decided = self.record.history[-1]
        if champion and head != champion.head:
            self.files = dict(job.files)
            try:
                note = self.workspace.refs.follow(head, champion.head, self.record.heads())
            except WorkspaceError as error:  # the ledger has it; no reason to end a night's work
                note = str(error)
            self.note_once(note)
        self.view.decided(decided)
        self.note_once(self.notify(decided))
        if self.record.champion is None:
            log = "\n  ".join(measurement.log[-LOG_SHOWN:]) if measurement else ""
            raise TargetError(
                f"The baseline of {self.target.name}, its unedited files, has no score: {decided.reason}"
                + (f"\n  {log}\n" if log else " ")
                + f"Mend {self.target.evaluator} or the editable files and run the same command again."
            )

    def note_once(self, note: str) -> None:
        """Have the user told when the session ends."""
        if note and note not in self.notes:
            self.notes.append(note)

    def write(self, event: str, **fields: object) -> None:
        """To the disk first, then to the state that everything here is read from."""
        self.record.apply(self.ledger.append(event, **fields))


def _encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}
