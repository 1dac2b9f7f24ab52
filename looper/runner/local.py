"""Measures candidates on this machine, several at once if asked, each in a slot of its own."""

from __future__ import annotations

import os
import select
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from looper.models import Target
from looper.runner.evaluator import Evaluator
from looper.runner.slot import Done, Job, Progress, SlotFolder

GRACE_S = 60.0  # beyond the sum of the budgets: the evaluator's own start, imports and bookkeeping
RERUNS = 2  # how often a run that the machine starved is measured again


@dataclass
class _Slot:
    number: int
    folder: SlotFolder
    cores: tuple[int, ...]
    env: dict[str, str]
    standby: Evaluator | None = None
    evaluator: Evaluator | None = None
    job: Job | None = None
    started: float = 0.0
    reruns: int = 0


class LocalRunner:
    """A slot is one core, or one GPU; each evaluator is started while its slot still waits for a job.

    Args:
        target: whose evaluator runs.
        folder: where the slots' folders go; what an earlier runner left there is removed.
        locked: the target's locked files, by path relative to its root.
        facts: what the target's preparation returned, handed to the evaluator.
        devices: for each slot, the cores it may use and its environment; see :func:`slots_for`.
        sandbox: name of the isolation backend.
    """

    def __init__(
        self,
        target: Target,
        folder: Path,
        locked: Mapping[str, bytes],
        facts: Mapping[str, str],
        devices: Sequence[tuple[tuple[int, ...], dict[str, str]]],
        sandbox: str,
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._slots = [
            _Slot(number, SlotFolder(folder / str(number), locked), cores, env)
            for number, (cores, env) in enumerate(devices)
        ]
        budget = target.budget
        self._limit_s = budget.setup_s + budget.run_wall_s + budget.score_s + GRACE_S
        self._order: dict[str, Any] = {
            "settings": dict(target.settings),
            "facts": dict(facts),
            "budget": asdict(budget) | {"run_wall_s": budget.run_wall_s},
            "device": target.device,
            "evaluator": target.evaluator,
            "metric": target.metric.name,
            "sandbox": sandbox,
        }
        self._finished: list[Done] = []

    @property
    def free(self) -> bool:
        """Whether a slot waits for a job."""
        return any(slot.job is None for slot in self._slots)

    @property
    def busy(self) -> bool:
        """Whether a job is running, or a finished one was not collected yet."""
        return bool(self._finished) or any(slot.job for slot in self._slots)

    def submit(self, job: Job) -> None:
        """Start measuring; needs a free slot."""
        slot = next(slot for slot in self._slots if slot.job is None)
        slot.job, slot.reruns = job, 0
        self._launch(slot)

    def wait(self, on_tick: Callable[[], None], tick_s: float = 0.1) -> list[Done]:
        """Block until at least one job ended; ``on_tick`` is called several times a second meanwhile."""
        while not self._finished:
            on_tick()
            self._poll(tick_s)
        done, self._finished = self._finished, []
        return done

    def running(self) -> list[Progress]:
        """How far every running evaluation is."""
        return [
            Progress(slot.job.experiment, slot.number, ev.phase, ev.used_s, ev.of_s, ev.values, slot.started)
            for slot in self._slots
            if slot.job is not None and (ev := slot.evaluator) is not None
        ]

    def close(self) -> None:
        """End everything that runs and remove the slots' folders."""
        for slot in self._slots:
            for evaluator in (slot.evaluator, slot.standby):
                if evaluator is not None:
                    evaluator.kill()
            slot.evaluator = slot.standby = slot.job = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _launch(self, slot: _Slot) -> None:
        assert slot.job is not None
        slot.folder.lay(slot.job.files)
        slot.evaluator = slot.standby or Evaluator(slot.env)
        slot.standby = None
        slot.started = time.monotonic()
        places = {"root": str(slot.folder.root), "scratch": str(slot.folder.scratch), "cores": slot.cores}
        slot.evaluator.start({**self._order, **places, "seed": slot.job.seed})
        # The next one imports what it needs while this one measures.
        slot.standby = Evaluator(slot.env)

    def _poll(self, timeout: float) -> None:
        active = {slot.number: slot for slot in self._slots if slot.job is not None}
        owners = {fd: slot.evaluator for slot in active.values() if slot.evaluator for fd in slot.evaluator.filenos()}
        for fd in select.select(list(owners), [], [], timeout)[0]:
            owners[fd].read(fd)
        for slot in active.values():
            assert slot.evaluator is not None
            overdue = time.monotonic() - slot.started > self._limit_s
            if slot.evaluator.ended or overdue:
                self._collect(slot, overdue)

    def _collect(self, slot: _Slot, overdue: bool) -> None:
        assert slot.evaluator is not None and slot.job is not None
        evaluator, job = slot.evaluator, slot.job
        evaluator.kill()
        measurement = evaluator.measurement(job.seed, slot.started, overdue)
        slot.evaluator = None
        tampered = slot.folder.tampered()
        if tampered:
            reason = f"locked files were changed during the run: {', '.join(tampered)}"
            measurement = replace(measurement, status="invalid", metrics={}, reason=reason)
        if evaluator.result is not None and evaluator.result["starved"] and slot.reruns < RERUNS:
            slot.reruns += 1
            self._launch(slot)
            return
        slot.job = None
        facts = {**measurement.facts, "slot": slot.number, "reruns": slot.reruns}
        self._finished.append(Done(job, replace(measurement, facts=facts)))


def slots_for(target: Target, wanted: int | None, gpus: Sequence[str]) -> list[tuple[tuple[int, ...], dict[str, str]]]:
    """Cores and environment of each slot: one GPU each, or one core each, or ``wanted`` of them.

    Args:
        target: its ``device`` says what a slot needs.
        wanted: how many slots, None for as many as there are devices; more than there are share them.
        gpus: the names of the GPUs that are visible.
    """
    if target.device == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        ids = visible if visible != [""] else [str(index) for index in range(len(gpus))]
        ids = ids[: len(gpus)] or ["0"]
        return [((), {"CUDA_VISIBLE_DEVICES": ids[i % len(ids)]}) for i in range(wanted or len(ids))]
    cores = sorted(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return [((cores[i % len(cores)],), threads) for i in range(wanted or len(cores))]
