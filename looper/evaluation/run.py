"""One evaluation, as ``evaluate.py`` sees it: the seed, the candidate, the clock, the report."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from looper.evaluation.candidate import Candidate, Host
from looper.evaluation.failures import Crash, Failure, NotANumber, OutOfMemory, Starved, Timeout, missed
from looper.evaluation.gpu_memory import DeviceBuffer
from looper.evaluation.wire import Buffer
from looper.sandbox import Sandbox

if TYPE_CHECKING:
    import numpy as np

STARVED = 0.3  # share of a run that hit its wall cap without a core to run on, to call it starved
LOOK_EVERY_S = 0.02
PROGRESS_EVERY_S = 0.1
MOST_MEMORY = 0.9  # of the machine's: what is left keeps looper alive
MOST_PROCESSES = 512  # of one worker: what multiplies beyond it would take the machine with it


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

    def __init__(self, job: Mapping[str, Any], emit: Callable[..., None], sandbox: Sandbox) -> None:
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
        self._metric: str = job["metric"]
        self._editable = frozenset(job["editable"])
        self._locked = frozenset(job["locked"])
        self._emit = emit
        self._host = Host(
            sandbox,
            job["scratch"],
            self.device,
            tuple(job["devices"]),
            tuple(job["cores"]),
            self.budget["memory_mb"] or most_memory_mb(),
            self.check_budgets,
            self.progress,
        )
        self._workers: list[Candidate] = []
        self._phase = "setup"
        self._since: float | None = None  # the setup begins with the first worker
        self._over: Failure | None = None
        self._cpu_before = 0.0  # CPU seconds of workers and clocks that are over
        self._at_start: dict[Candidate, tuple[float, float]] = {}  # CPU and waited seconds at the clock's start
        self._next_look = 0.0
        self._next_progress = 0.0
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
    def candidate(
        self, path: str, driver: str | None = None, files: Sequence[str] = (), hide: Sequence[str] = ()
    ) -> Iterator[Candidate]:
        """A worker that holds the candidate; its whole process tree ends with the block.

        Of the target it sees the editable files, the driver and ``files``, nothing else.

        Args:
            path: the editable file, relative to the target's folder.
            driver: a locked file whose functions are called instead of the candidate's own; each gets the
                candidate's module as its first argument.
            files: further locked files that the candidate or the driver reads or imports.
            hide: absolute paths of files and folders that the worker must not be able to read although they belong
                to the Python environment or the system, which it otherwise sees.

        Raises:
            ValueError: when ``path`` is not one of the target's editable files, or another is none of its files.
            OSError: when the system refuses to start a worker.
            Crash, OutOfMemory, Timeout, Invalid: let them pass; looper records them.
        """
        if path not in self._editable:
            names = ", ".join(sorted(self._editable))
            raise ValueError(f"run.candidate({path!r}): not an editable file of this target; those are: {names}.")
        wanted = [*self._editable, *([driver] if driver else []), *files]
        for name in wanted:
            if name not in self._editable | self._locked:
                raise ValueError(f"run.candidate(): {name!r} is not a file that this target's evaluation may use.")
        seen = {name: (self.root / name).read_bytes() for name in wanted}
        if self._since is None:
            self._since = time.monotonic()
        worker = Candidate(self._host, seen, tuple(hide))
        self._workers.append(worker)
        self.layers = worker.layers
        if self._phase == "run":
            self._at_start[worker] = (0.0, 0.0)
        try:
            worker.load(path, driver)
            yield worker
        except Crash as crash:
            crash.reason += missed(crash.reason, self._locked - seen.keys())
            raise
        finally:
            self._measure()
            self._workers.remove(worker)
            if worker in self._at_start:
                self._cpu_before += worker.usage().cpu_s - self._at_start.pop(worker)[0]
            self.log_lines += worker.close()

    @contextmanager
    def clock(self) -> Iterator[None]:
        """The run budget: starts here, ends with the block, and is enforced while the worker works."""
        self.phase("run")
        self._at_start = {worker: (worker.usage().cpu_s, worker.waited_s()) for worker in self._workers}
        yield
        self.phase("score")

    def share(self, array: np.ndarray) -> Buffer:
        """``array`` in a sealed memory file: pass it as an argument, the worker sees it read-only."""
        return Buffer(array.shape, array.dtype.name, source=array)

    def buffer(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """A zeroed array that both sides can write; ``.array`` is this side's view.

        The worker may write to it at any instant: copy what it holds once, and use only the copy.
        """
        return Buffer(shape, dtype)

    def device_buffer(self, shape: tuple[int, ...], dtype: str) -> DeviceBuffer:
        """The same in the GPU's memory; ``.array`` goes into ``torch.as_tensor(array, device="cuda")`` on both sides.

        Raises:
            OSError: when the driver cannot share memory between processes; take :meth:`buffer` then.
        """
        return DeviceBuffer(shape, dtype)

    def phase(self, name: str) -> None:
        """End the current phase and begin ``setup``, ``run`` or ``score``.

        Raises:
            Timeout, Starved, OutOfMemory: when the phase that ends has used up its budget.
        """
        if f"{name}_s" not in self.budget:
            raise ValueError(f"run.phase({name!r}): a phase is 'setup', 'run' or 'score'.")
        self._look()
        self._enter(name)

    def report(self, **metrics: float) -> None:
        """The result: finite numbers by name, the target's metric among them. Call it exactly once.

        Raises:
            NotANumber: when a value is NaN or infinite.
            Timeout, Starved, OutOfMemory: when a budget is used up by now.
            RuntimeError: when called twice, without the metric, or with something that is no number.
        """
        if self.metrics:
            raise RuntimeError("evaluate.py called run.report() twice.")
        if self._metric not in metrics:
            got = ", ".join(metrics) or "nothing"
            raise RuntimeError(f"evaluate.py must report {self._metric!r}; it reported {got}.")
        self.phase("score")
        self.metrics = {name: _number(name, value) for name, value in metrics.items()}

    def finish(self) -> None:
        """Close the books on whatever phase it ended in."""
        self._enter("score")

    def check_budgets(self) -> None:
        """Called all the time while a worker is waited for.

        Raises:
            Timeout, Starved, OutOfMemory, Crash: when a budget is used up; the same again ever after.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self._look()

    def progress(self, values: Mapping[str, float]) -> None:
        """Pass on what a worker claims about its progress; shown, never believed."""
        now = time.monotonic()
        if now >= self._next_progress:
            self._next_progress = now + PROGRESS_EVERY_S
            self._emit("progress", values=values, used=self._used(), of=self._allowed())

    def _enter(self, name: str) -> None:
        now = time.monotonic()
        self.timings[f"{self._phase}_s"] += now - self._since if self._since else 0.0
        self._cpu_before, self._at_start = self.timings["run_cpu_s"], {}
        self._phase, self._since = name, now
        self._emit("phase", phase=name)

    def _wall(self) -> float:
        """Wall seconds of the current phase so far."""
        return self.timings[f"{self._phase}_s"] + (time.monotonic() - self._since if self._since else 0.0)

    def _used(self) -> float:
        """Seconds used of the current phase's budget, on that budget's clock."""
        if self._phase == "run" and self.budget["clock"] == "cpu":
            return self.timings["run_cpu_s"]
        return self._wall()

    def _allowed(self) -> float:
        return float(self.budget[f"{self._phase}_s"])

    def _look(self) -> None:
        if self._over is None:
            self._over = self._excess(*self._measure())
        if self._over is not None:
            raise self._over

    def _measure(self) -> tuple[float, int]:
        """MiB and processes of all workers now; brings ``run_cpu_s`` and the peak up to date."""
        usages = {worker: worker.usage() for worker in self._workers}
        memory_mb = sum(usage.memory_mb for usage in usages.values())
        self.peak_memory_mb = max(self.peak_memory_mb, memory_mb)
        if self._phase == "run":
            used = (usages[worker].cpu_s - start for worker, (start, _) in self._at_start.items())
            self.timings["run_cpu_s"] = self._cpu_before + sum(used)
        return memory_mb, max((usage.processes for usage in usages.values()), default=0)

    def _excess(self, memory_mb: float, processes: int) -> Failure | None:
        """Which budget is used up, if any."""
        most = self.budget["memory_mb"]
        if any(worker.out_of_memory() for worker in self._workers):
            return OutOfMemory(f"the candidate used too much memory (the limit is {self._host.memory_mb} MiB).")
        if most is not None and memory_mb > most:
            memory_mb = sum(worker.memory_mb() for worker in self._workers)
        if most is not None and memory_mb > most:
            return OutOfMemory(f"the candidate used {memory_mb:.0f} MiB of memory (the limit is {most} MiB).")
        if processes > MOST_PROCESSES:
            return Crash(f"the candidate ran {processes} processes at once (the limit is {MOST_PROCESSES}).")
        cpu = self._phase == "run" and self.budget["clock"] == "cpu"
        if self._used() > self._allowed():
            kind = "CPU seconds" if cpu else "seconds"
            return Timeout(f"the {self._phase} budget of {self._allowed():g} {kind} was used up.")
        wall = self._wall()
        if cpu and wall > self.budget["run_wall_s"]:
            waited = max((w.waited_s() - start for w, (_, start) in self._at_start.items()), default=0.0)
            return at_wall_cap(wall, self.timings["run_cpu_s"], waited)
        return None


def most_memory_mb() -> int:
    """What one worker may use where the target sets no limit: most of the machine's memory, in MiB."""
    return int(MOST_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 20))


def at_wall_cap(wall_s: float, cpu_s: float, waited_s: float) -> Timeout:
    """Whose fault it is that so much wall time went by for so little CPU time."""
    text = f"the run took {wall_s:.1f} s of wall time for {cpu_s:.1f} CPU seconds"
    if waited_s > STARVED * wall_s:
        return Starved(f"{text}: the machine had no core free for it.")
    return Timeout(f"{text}: it waited instead of working.")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise RuntimeError(f"evaluate.py reported {name}={value!r:.100}, which is not a number.")
    try:
        number = float(value)
    except OverflowError:  # an int beyond every float
        number = math.inf
    if not math.isfinite(number):
        raise NotANumber(f"{name} is {number}.")
    return number
