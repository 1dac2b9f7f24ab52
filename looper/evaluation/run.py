"""One evaluation, as ``evaluate.py`` sees it: the seed, the candidate, the clock, the report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from looper import sandbox
from looper.evaluation.candidate import Candidate
from looper.evaluation.failures import Failure, NotANumber, OutOfMemory, Starved, Timeout
from looper.evaluation.wire import Buffer

if TYPE_CHECKING:
    import numpy as np

STARVED = 0.3  # share of a run that hit its wall cap without a core to run on, to call it starved


class Run:
    """Handed to ``evaluate(run)``.

    Attributes:
        seed: drawn by looper for this evaluation; the candidate cannot know it beforehand.
        settings: the target's settings.
        facts: what the target's preparation returned.
        budget: ``run_s``, ``run_wall_s``, ``setup_s``, ``score_s`` (seconds), ``clock`` and ``memory_mb``.
        device: ``cpu`` or ``cuda`` (then only this slot's GPU is visible).
        root: the folder with the target's files, the candidate's among them.
        timings: seconds by name so far: ``setup_s``, ``run_s``, ``score_s`` and ``run_cpu_s``.
    """

    def __init__(self, job: Mapping[str, Any], emit: Callable[..., None]) -> None:
        self.seed: int = job["seed"]
        self.settings: Mapping[str, Any] = job["settings"]
        self.facts: Mapping[str, str] = job["facts"]
        self.budget: Mapping[str, Any] = job["budget"]
        self.device: str = job["device"]
        self.root = Path(job["root"])
        self.timings: dict[str, float] = {"setup_s": 0.0, "run_s": 0.0, "run_cpu_s": 0.0, "score_s": 0.0}
        self.metrics: dict[str, float] = {}
        self.peak_memory_mb = 0.0
        self.layers: tuple[str, ...] = ()
        self.log_lines: list[str] = []
        self._job = job
        self._emit = emit
        self._sandbox = sandbox.get(job["sandbox"])
        self._workers: list[Candidate] = []
        self._phase = "setup"
        self._since = time.monotonic()
        self._cpu_before = 0.0  # CPU seconds of workers and clocks that are over
        self._cpu_at_start: dict[Candidate, float] = {}
        self._next_look = 0.0
        self._rng: np.random.Generator | None = None
        self._emit("phase", phase="setup")

    @property
    def rng(self) -> np.random.Generator:
        """A numpy random generator seeded with :attr:`seed`."""
        if self._rng is None:
            import numpy as np

            self._rng = np.random.default_rng(self.seed)
        return self._rng

    @contextmanager
    def candidate(self, path: str, driver: str | None = None) -> Iterator[Candidate]:
        """A worker that holds the candidate; its whole process tree ends with the block.

        Args:
            path: the editable file, relative to the target's folder.
            driver: a locked file whose functions are called instead of the candidate's own; each gets the
                candidate's module as its first argument.
        """
        worker = Candidate(self, self._sandbox, self._job, path, driver)
        self._workers.append(worker)
        self.layers = worker.layers
        try:
            yield worker
        finally:
            self._workers.remove(worker)
            if worker in self._cpu_at_start:
                self._cpu_before += worker.cpu_s() - self._cpu_at_start.pop(worker)
            self.log_lines += worker.close()

    @contextmanager
    def clock(self) -> Iterator[None]:
        """The run budget: starts here, ends with the block, and is enforced while the worker works."""
        self.phase("run")
        self._cpu_at_start = {worker: worker.cpu_s() for worker in self._workers}
        yield
        self._look()
        self._cpu_before, self._cpu_at_start = self.timings["run_cpu_s"], {}
        self.phase("score")

    def share(self, array: np.ndarray) -> Buffer:
        """``array`` in a sealed memory file: pass it as an argument, the worker sees it read-only."""
        return Buffer(array.shape, array.dtype.name, source=array)

    def buffer(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """A zeroed array that both sides can write; ``.array`` is this side's view.

        The worker may write to it at any instant: copy what it holds once, and use only the copy.
        """
        return Buffer(shape, dtype)

    def phase(self, name: str) -> None:
        """Close the current phase's time and begin ``setup``, ``run`` or ``score``."""
        if f"{name}_s" not in self.budget:
            raise ValueError(f"run.phase({name!r}): a phase is 'setup', 'run' or 'score'.")
        now = time.monotonic()
        self.timings[f"{self._phase}_s"] += now - self._since
        self._phase, self._since = name, now
        self._emit("phase", phase=name)

    def report(self, **metrics: float) -> None:
        """The result: finite numbers by name, the target's metric among them. Call it exactly once.

        Raises:
            NotANumber: when a value is NaN or infinite.
            RuntimeError: when called twice, without the metric, or with something that is no number.
        """
        metric = self._job["metric"]
        if self.metrics:
            raise RuntimeError("evaluate.py called run.report() twice.")
        if metric not in metrics:
            raise RuntimeError(f"evaluate.py must report {metric!r}; it reported {', '.join(metrics) or 'nothing'}.")
        values = {}
        for name, value in metrics.items():
            if isinstance(value, bool) or not hasattr(value, "__float__"):
                raise RuntimeError(f"evaluate.py reported {name}={value!r}, which is not a number.")
            values[name] = float(value)
            if not math.isfinite(values[name]):
                raise NotANumber(f"{name} is {values[name]}.")
        self.phase("score")
        self.metrics = values

    def check_budgets(self) -> None:
        """Called all the time while a worker is waited for.

        Raises:
            Timeout, Starved, OutOfMemory: when a budget is used up.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 0.02
            self._look()

    def progress(self, values: Mapping[str, float]) -> None:
        """Pass on what a worker claims about its progress; shown, never believed."""
        self._emit("progress", values=values, used=self._used(), of=self._allowed())

    def _used(self) -> float:
        """Seconds used of the current phase's budget, on that budget's clock."""
        if self._phase == "run" and self.budget["clock"] == "cpu":
            return self.timings["run_cpu_s"]
        return self.timings[f"{self._phase}_s"] + time.monotonic() - self._since

    def _allowed(self) -> float:
        return float(self.budget[f"{self._phase}_s"])

    def _look(self) -> None:
        memory = sum(worker.memory_mb() for worker in self._workers)
        self.peak_memory_mb = max(self.peak_memory_mb, memory)
        limit = self.budget["memory_mb"]
        if limit is not None and memory > limit:
            raise OutOfMemory(f"the candidate used {memory:.0f} MiB of memory (the limit is {limit} MiB).")
        if self._phase == "run":
            self.timings["run_cpu_s"] = self._cpu_before + sum(
                worker.cpu_s() - start for worker, start in self._cpu_at_start.items()
            )
            self._check_wall_cap()
        if self._used() > self._allowed():
            raise Timeout(
                f"the {self._phase} budget of {self._allowed():g} "
                f"{'CPU ' if self._phase == 'run' and self.budget['clock'] == 'cpu' else ''}seconds was used up."
            )

    def _check_wall_cap(self) -> None:
        wall = self.timings["run_s"] + time.monotonic() - self._since
        if self.budget["clock"] == "cpu" and wall > self.budget["run_wall_s"]:
            cpu = self.timings["run_cpu_s"]
            text = f"the run took {wall:.0f} s of wall time for {cpu:.1f} CPU seconds"
            waited = max(worker.waited_s() for worker in self._workers)
            if waited > STARVED * wall:
                raise Starved(f"{text}: the machine had no core free for it.")
            raise Timeout(f"{text}: it waited instead of working.")


def result_of(run: Run, evaluate: Callable[[Run], None]) -> dict[str, Any]:
    """Call ``evaluate(run)`` and say how it ended: status, reason, metrics."""
    try:
        evaluate(run)
        if not run.metrics:
            raise RuntimeError("evaluate.py ended without a call of run.report().")
    except Failure as failure:
        run.phase("score")
        run.log_lines += failure.log.splitlines()
        return {
            "status": failure.status,
            "reason": failure.reason,
            "metrics": {},
            "starved": isinstance(failure, Starved),
        }
    return {"status": "ok", "reason": "", "metrics": run.metrics, "starved": False}
