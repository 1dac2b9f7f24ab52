"""The loop: propose, measure, judge, record, keep or revert."""

from __future__ import annotations

from collections.abc import Callable

from looper import judge
from looper.errors import SessionError
from looper.lab import Lab
from looper.models import Decision, Measurement, Proposal
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
            reason = propose(lab) or stop(lab.record)
        if not lab.runner.busy:
            lab.runner.check_environment()
            return reason
        for done in lab.wait():
            settle(lab, done)


def take_up(lab: Lab) -> None:
    """Go on with what was under way when the session last ended; before anything else, measure the baseline."""
    if lab.record.champion is None and not lab.record.pending:
        attempt = lab.record.baselines + 1
        lab.enter(0, Proposal({}, "baseline"), "baseline", lab.base, lab.base, lab.files, attempt)
    for n in sorted(lab.record.pending):
        job = lab.job(n)
        while not lab.runner.free:  # this call may have fewer slots than the one that left these behind
            for done in lab.wait():
                settle(lab, done)
        if n in lab.record.measured:
            rule(lab, job, lab.record.measured[n])
        else:
            lab.runner.submit(job)


def propose(lab: Lab) -> str:
    """Ask for one change to the champion and start measuring it; when there is none to be had, why."""
    if lab.barren >= PATIENCE:
        return f"{PATIENCE} proposals in a row were no new candidates"
    proposal = lab.ask()
    if proposal is None:
        return "there is nothing left to propose"
    job, fault = lab.admit(proposal)
    if fault:
        lab.decide(job, fault)
    else:
        lab.runner.submit(job)
    return ""


def settle(lab: Lab, done: Done) -> None:
    """Write down what was measured, then give the verdict; end the session when the scores are in danger.

    Raises:
        SessionError: when files were changed that scores rest on, the runner must be mended, or the evaluator keeps
            failing.
    """
    lab.note(done)
    try:
        rule(lab, done.job, done.measurement)
    finally:
        if done.measurement.status == "tampered":
            raise SessionError(tampering(done))
        if done.fault:
            raise SessionError(done.fault)
    if lab.faults >= FAULTS:
        raise SessionError(
            f"The evaluator failed {FAULTS} times in a row, by no fault of a candidate: {done.measurement.reason} "
            "Nothing is lost; mend that and run the same command again."
        )


def rule(lab: Lab, job: Job, measurement: Measurement) -> None:
    """The verdict against the champion of this moment, which need not be the one that was changed."""
    if measurement.status != "ok":
        lab.decide(job, judge.failure(measurement), measurement)
    elif lab.record.champion is None:
        lab.decide(job, Decision("keep", "the baseline"), measurement)
    elif lab.overtaken(job) and lab.promising(job, measurement):
        lab.reapply(job, measurement)
    else:
        lab.decide(job, lab.judge(lab.champion, measurement), measurement)


def tampering(done: Done) -> str:
    """Why the session ends after a measurement during which something was changed, and what to do."""
    n, changes = done.job.experiment.n, "\n  ".join(done.measurement.facts["tampered"])
    return (
        f"Files that scores rest on were changed while experiment {n} was measured. Its score was not taken.\n"
        f"  {changes}\n"
        f"See what the candidate does with `looper show {n}` and `looper diff {n}`. Files of the target are laid out "
        "anew for every experiment; anything else that is listed is yours to mend. If it was you, who installed or "
        "updated something, start a new session with --fresh: measurements before and after are not comparable. "
        "Else run the same command again to go on."
    )
