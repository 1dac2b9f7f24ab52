"""Measures candidates on this machine, several at once if asked, each in a slot of its own."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from looper.errors import LooperError
from looper.models import Target
from looper.runner import environment
from looper.runner.evaluator import Evaluator
from looper.runner.gpu import GpuMemory, SlotGpu, gpu_of, still_held
from looper.runner.nursery import Nursery
from looper.runner.slot import Done, Job, Progress, SlotFolder, untouched
from looper.sandbox.removal import remove

GRACE_S = 60.0  # beyond the sum of the budgets: the evaluator's own start, imports and bookkeeping
RERUNS = 2  # how often a run is measured again that the machine starved, or whose folder was removed


@dataclass
class _Slot:
    number: int
    folder: SlotFolder
    cores: tuple[int, ...]
    env: dict[str, str]
    gpu: SlotGpu
    evaluator: Evaluator | None = None
    job: Job | None = None
    started: float = 0.0
    reruns: int = 0


class LocalRunner:
    """A slot is one core, or one GPU; an experiment has the slot for itself.

    Args:
        target: whose evaluator runs.
        folder: where the slots' folders go; what an earlier runner left there is removed.
        locked: the target's locked files, by path relative to its root.
        facts: what the target's preparation returned, handed to the evaluator.
        devices: for each slot, the cores its workers may use and its environment; see :func:`slots_for`.
        sandbox: name of the isolation backend.

    Raises:
        LooperError: when a folder cannot be written or no process can be started; so do its methods.
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
        self._folder = folder
        self._remove_folder()
        self._slots = [
            _slot(target, number, SlotFolder(folder / str(number), locked), cores, env)
            for number, (cores, env) in enumerate(devices)
        ]
        self._gpu_memory = GpuMemory(slot.gpu.uuid for slot in self._slots)
        budget = target.budget
        self._limit_s = budget.setup_s + budget.run_wall_s + budget.score_s + GRACE_S
        self._order: dict[str, Any] = {
            "settings": dict(target.settings),
            "facts": dict(facts),
            "budget": asdict(budget) | {"run_wall_s": budget.run_wall_s},
            "device": target.device,
            "evaluator": target.evaluator,
            "locked": list(locked),
            "editable": list(target.editable),
            "metric": target.metric.name,
            "sandbox": sandbox,
        }
        self._finished: list[Done] = []
        common = [set(slot.env.items()) for slot in self._slots]
        self._nursery = Nursery(dict(set.intersection(*common)), sandbox, target.preload, target.device == "cuda")
        self._environment = environment.of_evaluators()

    @property
    def free(self) -> bool:
        """Whether a slot waits for a job."""
        return any(slot.job is None for slot in self._slots)

    @property
    def busy(self) -> bool:
        """Whether a job is running, or a finished one was not collected yet."""
        return bool(self._finished) or any(slot.job for slot in self._slots)

    def submit(self, job: Job) -> None:
        """Start measuring; needs a free slot.

        Raises:
            SessionError: when what evaluators run from has changed since this runner was made.
        """
        environment.must_be_unchanged(self._environment.look())
        slot = next(slot for slot in self._slots if slot.job is None)
        slot.job, slot.reruns = job, 0
        self._launch(slot)

    def wait(self, on_tick: Callable[[], None], tick_s: float = 0.1) -> list[Done]:
        """Block until a job ended, if any runs; ``on_tick`` is called several times a second meanwhile."""
        while self.busy and not self._finished:
            on_tick()
            self._environment.look_on()
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

    def check_environment(self) -> None:
        """Make sure that what evaluators run from is, all of it, what it was.

        Raises:
            SessionError: when it is not.
        """
        environment.must_be_unchanged(self._environment.look_everywhere())

    def close(self) -> None:
        """End everything that runs and remove the slots' folders."""
        for slot in self._slots:
            if slot.evaluator is not None:
                slot.evaluator.end()
            slot.evaluator = slot.job = None
        self._nursery.close()
        self._remove_folder()

    def _launch(self, slot: _Slot) -> None:
        assert slot.job is not None
        places = {
            "root": str(slot.folder.root),
            "scratch": str(slot.folder.scratch),
            "cores": slot.cores,
            "devices": slot.gpu.nodes,
        }
        try:
            slot.folder.lay(slot.job.files)
            slot.started = time.monotonic()
            slot.evaluator = Evaluator(self._nursery, slot.env, {**self._order, **places, "seed": slot.job.seed})
        except OSError as error:
            n, slot.job = slot.job.experiment.n, None
            raise LooperError(
                f"Experiment {n} cannot be measured in {slot.folder.root.parent}: {error}. "
                "Make room there (disk, memory, processes), then run the same command again."
            ) from error

    def _poll(self, timeout_s: float) -> None:
        active = [(slot, slot.evaluator) for slot in self._slots if slot.evaluator is not None]
        owners = {fd: evaluator for _, evaluator in active for fd in evaluator.filenos()}
        poller = select.poll()
        for fd in owners:
            poller.register(fd, select.POLLIN)
        for fd, _ in poller.poll(timeout_s * 1000):
            owners[fd].read(fd)
        for slot, evaluator in active:
            overdue = time.monotonic() - slot.started > self._limit_s
            if evaluator.ended or overdue:
                self._collect(slot, evaluator, overdue)

    def _collect(self, slot: _Slot, evaluator: Evaluator, overdue: bool) -> None:
        assert slot.job is not None
        evaluator.end()
        slot.evaluator = None
        measurement = evaluator.measurement(slot.job.seed, slot.started, overdue)
        files, packages = slot.folder.tampered(), self._environment.look()
        again = slot.folder.vanished() or (evaluator.starved and not files)
        held = self._gpu_held(slot)
        if again and not packages and not held and slot.reruns < RERUNS:
            slot.reruns += 1
            self._launch(slot)
            return
        measurement = untouched(measurement, files, packages)
        if held and measurement.status != "tampered":
            measurement = replace(measurement, status="infra", metrics={}, reason=held)
        facts = {**measurement.facts, "slot": slot.number, "reruns": slot.reruns}
        self._finished.append(Done(slot.job, replace(measurement, facts=facts), still_held(held) if held else ""))
        slot.job = None

    def _gpu_held(self, slot: _Slot) -> str:
        """What of the slot's GPU is not free again after its run; unknown while another slot computes on it."""
        shared = any(other.evaluator for other in self._slots if other.gpu.uuid == slot.gpu.uuid)
        return "" if shared else self._gpu_memory.held(slot.gpu.uuid)

    def _remove_folder(self) -> None:
        try:
            remove(self._folder)
        except OSError as error:
            raise LooperError(f"{self._folder} cannot be removed: {error}. Remove it by hand.") from error


def _slot(target: Target, number: int, folder: SlotFolder, cores: tuple[int, ...], env: dict[str, str]) -> _Slot:
    if target.device != "cuda":
        return _Slot(number, folder, cores, env, SlotGpu("", (), ""))
    gpu = gpu_of(env["CUDA_VISIBLE_DEVICES"])
    return _Slot(number, folder, cores, {**env, "CUDA_VISIBLE_DEVICES": gpu.visible}, gpu)


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
