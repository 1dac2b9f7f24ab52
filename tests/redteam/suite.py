"""Runs attacks for real against one isolation backend, and says from the host's side how each ended.

One runner and one host for all of them: an attack must not reach the next. After each of them an honest candidate
is measured, in the same slot, and has to find everything as it should be.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from looper import sandbox
from looper.models import Budget, Experiment, Measurement, Metric, Target
from looper.runner import Job, LocalRunner, slots_for
from tests.measuring import eventually, marked
from tests.redteam.bait import Bait
from tests.redteam.catalogue import Attack

LOCKED = Path(__file__).parent / "locked"
PATIENT = Budget(run_s=30, setup_s=30, score_s=30, memory_mb=400)
BRIEF = replace(PATIENT, run_s=1)  # for those that never end
ANY_MEMORY = replace(PATIENT, memory_mb=None)
LOG_BYTES, LOG_LINES, LINE, REASON = 64 * 1024, 50, 1000, 300

HONEST = """
def attack(host):
    pass
"""
NEIGHBOUR = """# SECRET runs in the other slot
import time
def attack(host):
    time.sleep(1)
"""


class Outcome(NamedTuple):
    """How an attack ended.

    Args:
        status: of its last measurement, empty where there is none.
        refusal: what it was told by the system, in its own words.
        through: what of it succeeded, as the host sees it; empty when it was held back.
        measurement: the last one, for whoever wants to know more.
    """

    status: str
    refusal: str
    through: tuple[str, ...]
    measurement: Measurement | None = None


class Suite:
    """One backend."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.level = int(sandbox.BACKENDS[backend].level)
        self.bait = Bait()
        self._runners: dict[Budget, LocalRunner] = {}
        self._outcomes: dict[str, Outcome] = {}

    def outcome(self, attack: Attack) -> Outcome:
        """How the attack ends here; run at the first call."""
        if attack.name not in self._outcomes:
            run = self._kill_looper if attack.scenario else self._attack
            self._outcomes[attack.name] = run(attack)
        return self._outcomes[attack.name]

    def close(self) -> None:
        for runner in self._runners.values():
            runner.close()
        self.bait.close()

    def runner(self, budget: Budget) -> LocalRunner:
        if budget not in self._runners:
            folder = self.bait.folder / ("slots" if budget is PATIENT else f"slots{len(self._runners)}")
            self._runners[budget] = runner_of(self.bait, folder, budget, self.backend)
        return self._runners[budget]

    def _attack(self, attack: Attack) -> Outcome:
        budget = BRIEF if attack.ends == ("timeout",) else ANY_MEMORY if attack.any_memory else PATIENT
        runner = self.runner(budget)
        measured = []
        for _ in range(attack.runs):
            if attack.beside:
                runner.submit(job_of(NEIGHBOUR.replace("SECRET", self.bait.secret)))
            measured.append(measure(runner, attack.source))
            while runner.busy:  # the neighbour
                runner.wait(lambda: None)
        last = measured[-1]
        claim = self._claim(last)
        through = [claim["reached"]] if "reached" in claim else []
        for measurement in measured:
            through += self._seen_in(measurement, attack, self._claim(measurement))
        through += self.bait.harm()
        after = measure(runner, HONEST)
        if (after.status, dict(after.metrics)) != ("ok", {"loss": 1.0}):
            through.append(f"the next candidate: {after.status} {after.reason} {after.metrics}")
        return Outcome(last.status, claim.get("refused", ""), tuple(through), last)

    def _seen_in(self, measurement: Measurement, attack: Attack, claim: dict[str, str]) -> Iterator[str]:
        """What a measurement shows of an attack's success."""
        if measurement.metrics and dict(measurement.metrics) != {"loss": 1.0}:
            yield f"the score is {dict(measurement.metrics)}"
        if self.bait.secret in repr((claim, measurement.log, measurement.reason)):
            yield "it saw what it must not see"
        if measurement.timings.get("run_s", attack.takes_s) < attack.takes_s:
            yield "its run was measured shorter than it was"
        lines = (*measurement.log, measurement.reason)
        if not all(line.isprintable() and len(line) <= LINE for line in lines) or len(measurement.reason) > REASON:
            yield "the log holds what a terminal obeys, or is too wide"
        if len(measurement.log) > LOG_LINES or sum(len(line.encode()) for line in measurement.log) > LOG_BYTES:
            yield "the log is too long"

    def _claim(self, measurement: Measurement) -> dict[str, str]:
        """What the candidate says it got, or was told; empty when it did not live to say."""
        path = self.bait.folder / "claims" / str(measurement.seed)
        claim = json.loads(path.read_text()) if path.exists() else {}
        return claim if isinstance(claim, dict) else {"reached": ""}

    def _kill_looper(self, attack: Attack) -> Outcome:
        """A looper of its own measures the attack and is killed meanwhile."""
        command = [sys.executable, "-c", "from tests.redteam.suite import stand_alone as main; main()"]
        job = {"told": self.bait.told, "folder": str(self.bait.folder / "killed"), "backend": self.backend}
        looper = subprocess.Popen([*command, json.dumps(job), attack.source])
        spread = eventually(lambda: len(marked(self.bait.mark)) >= 4 or looper.poll() is not None, within_s=30)
        looper.kill()
        looper.wait()
        ended = eventually(lambda: not marked(self.bait.mark))
        through = [*([] if spread else ["it never ran"]), *([] if ended else ["processes live on"])]
        return Outcome("", "", (*through, *self.bait.harm()))


@contextmanager
def suite_of(backend: str) -> Iterator[Suite]:
    """A suite, closed in the end."""
    suite = Suite(backend)
    try:
        yield suite
    finally:
        suite.close()


def runner_of(bait: Bait, folder: Path, budget: Budget, backend: str) -> LocalRunner:
    """Two slots, with the locked evaluator of the suite."""
    claims = str(bait.folder / "claims")
    return runner_with(bait.told, claims, bait.secret, folder, budget, backend)


def runner_with(
    told: dict[str, object], claims: str, secret: str, folder: Path, budget: Budget, backend: str
) -> LocalRunner:
    settings = {"bait": told, "claims": claims}
    target = Target("redteam", Path("."), ("solution.py",), Metric("loss"), budget, settings=settings)
    locked = {path.name: path.read_bytes() for path in LOCKED.glob("*.py")}
    locked["evaluate.py"] += f"# {secret}\n".encode()
    return LocalRunner(target, folder, locked, {}, slots_for(target, 2, ()), backend)


def job_of(source: str) -> Job:
    experiment = Experiment(1, 1, "", "", "", "test", "", {})
    return Job(experiment, {"solution.py": source.encode()}, secrets.randbits(63))


def measure(runner: LocalRunner, source: str) -> Measurement:
    """Measure one candidate, whoever else runs; those must end later."""
    job = job_of(source)
    runner.submit(job)
    while True:
        for done in runner.wait(lambda: None):
            if done.job is job:
                return done.measurement


def stand_alone() -> None:
    """For a process of its own: measure one candidate, as the arguments say."""
    job, source = json.loads(sys.argv[1]), sys.argv[2]
    folder = Path(job["folder"])
    runner = runner_with(job["told"], str(folder), "", folder, PATIENT, job["backend"])
    measure(runner, source)
