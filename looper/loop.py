"""The loop: propose, measure, judge, record, keep or revert."""

from __future__ import annotations

from collections.abc import Callable

from looper import judge
from looper.errors import SessionError
from looper.lab import Lab
from looper.models import Context, Decision, Measurement, Proposal
from looper.record import Record
from looper.runner import Done, Job

PATIENCE = 25  # proposals in a row that were no new candidate, before the proposer is taken to be exhausted
FAULTS = 3  # evaluators in a row that failed by themselves, before the session ends


def run(lab: Lab, stop: Callable[[Record], str]) -> str:
    """Experiment until ``stop`` gives a reason or the proposer has nothing left; returns why it ended."""
    take_up(lab)
    while True:
        reason = stop(lab.record)
        while not reason and lab.record.champion and lab.runner.free:
            reason = stop(lab.record) if propose(lab) else "there is nothing left to propose"
        if not lab.runner.busy:
            return reason
        for done in lab.wait():
            settle(lab, done)


def take_up(lab: Lab) -> None:
    """Go on with what was under way when the session last ended; before anything else, measure the baseline."""
    if lab.record.champion is None and not lab.record.pending:
        lab.enter(
            0, Proposal({}, "baseline"), "baseline", lab.base, lab.base, lab.files, attempt=lab.record.tries(0) + 1
        )
    for n in sorted(lab.record.pending):
        job = lab.job(n)
        if n in lab.record.measured:
            rule(lab, job, lab.record.measured[n])
        else:
            while not lab.runner.free:
                for done in lab.wait():
                    settle(lab, done)
            lab.runner.submit(job)


def propose(lab: Lab) -> bool:
    """Ask for one change to the champion and start measuring it; False when there is none to be had."""
    if lab.barren >= PATIENCE:
        return False
    pending = tuple(lab.record.pending.values())
    proposal = lab.proposer.propose(Context(lab.target, lab.texts(), lab.champion, lab.record.history, pending))
    if proposal is None:
        return False
    job, fault = lab.admit(proposal)
    if fault:
        lab.decide(job, fault)
    else:
        lab.runner.submit(job)
    return True


def settle(lab: Lab, done: Done) -> None:
    """Write down what was measured, then give the verdict."""
    lab.note(done)
    if lab.faults >= FAULTS:
        raise SessionError(f"The evaluator failed {FAULTS} times in a row: {done.measurement.reason}")
    rule(lab, done.job, done.measurement)


def rule(lab: Lab, job: Job, measurement: Measurement) -> None:
    """The verdict against the champion of this moment, which need not be the one that was changed."""
    if measurement.status != "ok":
        lab.decide(job, judge.failure(measurement))
    elif lab.record.champion is None:
        lab.decide(job, Decision("keep", "the baseline"), measurement)
    elif lab.overtaken(job) and lab.promising(job, measurement):
        lab.reapply(job)
    else:
        lab.decide(job, lab.judge(lab.champion, measurement), measurement)
