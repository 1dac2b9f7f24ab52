"""The loop: propose, measure, judge, record, keep or revert."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from looper import judge
from looper.errors import SessionError
from looper.ledger import Ledger
from looper.models import Context, Decision, Experiment, Measurement, Proposal, Proposer, Target
from looper.proposal import check, diff_size, kept_message
from looper.record import Record
from looper.runner import Done, Job, LocalRunner, Progress
from looper.workspace import Workspace, tree_id

ATTEMPTS = 3  # how often an experiment is re-applied to a champion that keeps moving, before it is stale
PATIENCE = 25  # proposals in a row that were no new candidate, before the proposer is taken to be exhausted
FAULTS = 3  # evaluators in a row that failed by themselves, before the session ends


class View(Protocol):
    """Who watches the loop."""

    def tick(self, running: list[Progress]) -> None: ...
    def decided(self, experiment: Experiment) -> None: ...
    def interrupted(self) -> None: ...


@dataclass
class Loop:
    """The parts of a session, and what they do together."""

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
    barren: int = field(default=0, init=False)
    faults: int = field(default=0, init=False)

    def run(self, stop: Callable[[Record], str]) -> str:
        """Experiment until ``stop`` gives a reason or the proposer is exhausted; returns why it ended."""
        self.take_up()
        while True:
            reason = stop(self.record)
            while not reason and self.record.champion and self.runner.free:
                reason = stop(self.record) if self.propose() else "there is nothing left to propose"
            if not self.runner.busy:
                return reason
            for done in self.runner.wait(lambda: self.view.tick(self.runner.running())):
                self.settle(done)

    def take_up(self) -> None:
        """Measure the baseline, or go on with what was under way when the session last ended."""
        if self.record.champion is None and not self.record.pending:
            attempt = 1 + len(self.record.history)
            self.enter(0, attempt, Proposal({}, "baseline"), "baseline", self.base, self.base, self.files)
        for n, experiment in sorted(self.record.pending.items()):
            files = self.workspace.files_at(experiment.commit)
            job = Job(experiment, {name: files[name] for name in self.target.editable}, secrets.randbits(63))
            if n in self.record.measured:
                self.rule(job, self.record.measured[n])
            else:
                while not self.runner.free:
                    for done in self.runner.wait(lambda: self.view.tick(self.runner.running())):
                        self.settle(done)
                self.runner.submit(job)

    def propose(self) -> bool:
        """Ask for one change to the champion and start measuring it; False when there is none to be had."""
        champion = self.champion
        texts = {name: data.decode() for name, data in self.files.items()}
        pending = tuple(self.record.pending.values())
        proposal = self.proposer.propose(Context(self.target, texts, champion, self.record.history, pending))
        if proposal is None or self.barren >= PATIENCE:
            return False
        n, parent = self.record.next_n, champion.head
        fault = check(self.target, proposal.files)
        files = self.files if fault else {**self.files, **_encoded(proposal.files)}
        first = self.record.first_with_tree(tree_id(files))
        novel = not fault and first is None
        self.barren = 0 if novel else self.barren + 1
        commit = self.workspace.candidate(n, parent, files, proposal.hypothesis) if novel else parent
        job = self.enter(n, 1, proposal, self.proposer.name, parent, commit, files)
        if fault:
            self.decide(job, Decision("invalid", fault))
        elif first is not None:
            self.decide(job, Decision("duplicate", f"the same files as experiment {first}"))
        else:
            self.runner.submit(job)
        return True

    def settle(self, done: Done) -> None:
        """Write down what was measured, then give the verdict."""
        n, measurement = done.job.experiment.n, done.measurement
        self.write("measured", n=n, environment=self.environment, **asdict(measurement))
        self.faults = self.faults + 1 if measurement.status == "infra" else 0
        self.rule(done.job, measurement)
        if self.faults >= FAULTS:
            raise SessionError(f"The evaluator failed {FAULTS} times in a row: {measurement.reason}")

    def rule(self, job: Job, measurement: Measurement) -> None:
        """The verdict against the champion of this moment, which need not be the one that was changed."""
        if measurement.status != "ok":
            self.decide(job, judge.failure(measurement))
        elif self.record.champion is None:
            self.decide(job, Decision("keep", "the baseline"), measurement)
        elif job.experiment.parent == self.champion.head or not self.promising(job.experiment, measurement):
            self.decide(job, self.judge(self.champion, measurement), measurement)
        else:
            self.reapply(job)

    def promising(self, experiment: Experiment, measurement: Measurement) -> bool:
        """Whether it beat the champion that it changed, who has been succeeded since."""
        gain = judge.gain_over(self.target.metric, self.record.with_head(experiment.parent), measurement)
        return gain > self.target.metric.min_delta

    def reapply(self, job: Job) -> None:
        """Put the change on the present champion and measure it there, or call it stale."""
        experiment, parent = job.experiment, self.champion.head
        files = self.moved(job) if experiment.attempt < ATTEMPTS else None
        if files is None:
            self.decide(job, Decision("stale", f"does not fit the champion, experiment {self.champion.n}, any more"))
        elif (first := self.record.first_with_tree(tree_id(files))) is not None:
            self.decide(job, Decision("duplicate", f"on the present champion, the same files as experiment {first}"))
        else:
            commit = self.workspace.candidate(experiment.n, parent, files, experiment.hypothesis)
            proposal = Proposal({}, experiment.hypothesis, experiment.meta)
            self.runner.submit(
                self.enter(experiment.n, experiment.attempt + 1, proposal, experiment.proposer, parent, commit, files)
            )

    def moved(self, job: Job) -> dict[str, bytes] | None:
        """The candidate's change on top of the present champion's files, None when it does not fit."""
        texts = {name: data.decode() for name, data in self.files.items()}
        changed = self.proposer.reapply(job.experiment, texts)
        if changed is not None:
            return {**self.files, **_encoded(changed)}
        base = self.workspace.files_at(job.experiment.parent)
        merged = {n: self.workspace.merge(base[n], ours, job.files[n]) for n, ours in self.files.items()}
        return None if None in merged.values() else {name: data for name, data in merged.items() if data is not None}

    def enter(
        self, n: int, attempt: int, proposal: Proposal, proposer: str, parent: str, commit: str, files: Mapping[str, bytes]
    ) -> Job:
        """Put a proposal on record, before anything runs."""
        self.write(
            "proposed", n=n, attempt=attempt, parent=parent, commit=commit, tree=tree_id(files), proposer=proposer,
            hypothesis=proposal.hypothesis, meta=dict(proposal.meta), cost_usd=proposal.cost_usd,
            tokens=proposal.tokens, diff=diff_size(self.files, files),
        )  # fmt: skip
        return Job(self.record.pending[n], files, secrets.randbits(63))

    def decide(self, job: Job, decision: Decision, measurement: Measurement | None = None) -> None:
        """Put a verdict on record; the branch moves only after that."""
        experiment, champion = job.experiment, self.record.champion
        head = champion.head if champion else self.base
        if decision.verdict == "keep" and champion and measurement:
            message = kept_message(self.target, champion, experiment, measurement)
            head = self.workspace.keep(experiment.commit, champion.head, message)
        self.write(
            "decided", n=experiment.n, verdict=decision.verdict, reason=decision.reason, gain=decision.gain, head=head
        )
        if champion and head != champion.head:
            self.workspace.move_branch(head, champion.head)
            self.files = dict(job.files)
        self.view.decided(self.record.history[-1])

    def write(self, event: str, **fields: object) -> None:
        """To the disk first, then to the state that everything here is read from."""
        self.record.apply(self.ledger.append(event, **fields))

    @property
    def champion(self) -> Experiment:
        assert self.record.champion is not None
        return self.record.champion


def _encoded(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}
