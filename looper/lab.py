"""The parts of a session, and the single steps that the loop is made of."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from looper import judge
from looper.ledger import Ledger
from looper.models import Decision, Experiment, Measurement, Proposal, Proposer, Target
from looper.proposal import check, diff_size, kept_message
from looper.record import Record
from looper.runner import Done, Job, LocalRunner, Progress
from looper.workspace import Workspace, tree_id

ATTEMPTS = 3  # how often an experiment is re-applied to a champion that keeps moving, before it is stale


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
    workspace: Workspace
    runner: LocalRunner
    ledger: Ledger
    record: Record
    environment: str  # identifies the hardware, versions and inputs that measurements are made with
    base: str  # the commit of the unedited target
    files: dict[str, bytes]  # the champion's editable files
    view: View
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

    def admit(self, proposal: Proposal) -> tuple[Job, Decision | None]:
        """Commit a proposal and put it on record; with a decision at once when it is no new candidate."""
        n, parent = self.record.next_n, self.champion.head
        fault = check(self.target, proposal.files)
        files = self.files if fault else self.files | _encoded(proposal.files)
        first = self.record.first_with_tree(tree_id(files))
        decision = None
        if fault:
            decision = Decision("invalid", fault)
        elif first is not None:
            decision = Decision("duplicate", f"the same files as experiment {first}")
        self.barren = self.barren + 1 if decision else 0
        commit = parent if decision else self.workspace.candidate(n, parent, files, proposal.hypothesis)
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
        """Whether it beat the very champion that it changed."""
        changed = self.record.with_head(job.experiment.parent)
        return judge.gain_over(self.target.metric, changed, measurement) > self.target.metric.min_delta

    def reapply(self, job: Job) -> None:
        """Put a promising change on the present champion and measure it there, or call it stale."""
        experiment, parent = job.experiment, self.champion.head
        files = self.moved(job) if experiment.attempt < ATTEMPTS else None
        if files is None:
            reason = f"it no longer fits: the champion is experiment {self.champion.n} now"
            self.decide(job, Decision("stale", reason))
        elif (first := self.record.first_with_tree(tree_id(files))) is not None:
            self.decide(job, Decision("duplicate", f"on the champion of now, the same files as experiment {first}"))
        else:
            commit = self.workspace.candidate(experiment.n, parent, files, experiment.hypothesis)
            proposal = Proposal({}, experiment.hypothesis, experiment.meta)
            attempt = experiment.attempt + 1
            self.runner.submit(self.enter(experiment.n, proposal, experiment.proposer, parent, commit, files, attempt))

    def moved(self, job: Job) -> dict[str, bytes] | None:
        """The job's change on top of the present champion's files, None when it does not fit."""
        changed = self.proposer.reapply(job.experiment, self.texts())
        if changed is not None:
            return self.files | _encoded(changed)
        base = self.workspace.files_at(job.experiment.parent)
        files = {}
        for name, ours in self.files.items():
            merged = self.workspace.merge(base[name], ours, job.files[name])
            if merged is None:
                return None
            files[name] = merged
        return files

    def decide(self, job: Job, decision: Decision, measurement: Measurement | None = None) -> None:
        """Put a verdict on record; only after that does the branch move."""
        experiment, champion = job.experiment, self.record.champion
        head = champion.head if champion else self.base
        if decision.verdict == "keep" and champion and measurement:
            message = kept_message(self.target, champion, experiment, measurement)
            head = self.workspace.keep(experiment.commit, champion.head, message)
        verdict = asdict(decision)
        self.write("decided", n=experiment.n, head=head, **verdict)
        if champion and head != champion.head:
            self.workspace.move_branch(head, champion.head)
            self.files = dict(job.files)
        self.view.decided(self.record.history[-1])

    def write(self, event: str, **fields: object) -> None:
        """To the disk first, then to the state that everything here is read from."""
        self.record.apply(self.ledger.append(event, **fields))


def _encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}
