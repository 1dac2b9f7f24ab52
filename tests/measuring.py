"""Measures small candidates for real: a target's files, a runner, evaluator and worker processes."""

from __future__ import annotations

import functools
import os
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from looper import sandbox
from looper.models import Budget, Experiment, Measurement, Metric, Target
from looper.runner import Job, LocalRunner, slots_for

QUICK = Budget(run_s=5, setup_s=5, score_s=5)
EXPERIMENT = Experiment(1, 1, "", "", "", "test", "", {})

#: The evaluator of most tests: the candidate's answer is the metric.
ANSWER = """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        answer = solution.call("answer")
    run.report(loss=answer)
"""


@functools.cache
def backends() -> tuple[str, ...]:
    """Names of the isolation backends that work here and need no container's runtime, best first."""
    return tuple(name for name in (*sandbox.AUTOMATIC, "process") if not sandbox.probe(name).fault)


def best() -> str:
    """The backend that a session would get here."""
    return backends()[0]


def target_of(budget: Budget, settings: Mapping[str, object] | None = None) -> Target:
    """A target with one editable file, ``solution.py``, and the metric ``loss``."""
    return Target("t", Path("."), ("solution.py",), Metric("loss"), budget, settings=settings or {})


def job_of(solution: str, seed: int = 7) -> Job:
    return Job(EXPERIMENT, {"solution.py": textwrap.dedent(solution).encode()}, seed)


def runner_of(
    folder: Path,
    evaluate: str,
    budget: Budget = QUICK,
    slots: int = 1,
    backend: str = "",
    preload: tuple[str, ...] = (),
    **locked: str,
) -> LocalRunner:
    """A runner whose target has this evaluator, and locked modules by name; on the best backend if none is named."""
    files = {"evaluate.py": evaluate} | {f"{name}.py": text for name, text in locked.items()}
    target = replace(target_of(budget), preload=preload)
    data = {name: textwrap.dedent(text).encode() for name, text in files.items()}
    return LocalRunner(target, folder, data, {}, slots_for(target, slots, ()), backend or best())


def one(runner: LocalRunner, solution: str, seed: int = 7) -> Measurement:
    """Measure one candidate."""
    runner.submit(job_of(solution, seed))
    (done,) = runner.wait(lambda: None)
    return done.measurement


class Lab:
    """Runners that tests share, one for each evaluator, budget and backend."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runners: dict[object, LocalRunner] = {}

    def measure(
        self,
        solution: str,
        evaluate: str = ANSWER,
        budget: Budget = QUICK,
        seed: int = 7,
        backend: str = "",
        **locked: str,
    ) -> Measurement:
        key = (evaluate, budget, backend, tuple(locked.items()))
        if key not in self._runners:
            folder = self.folder / str(len(self._runners))
            self._runners[key] = runner_of(folder, evaluate, budget, backend=backend, **locked)
        return one(self._runners[key], solution, seed)

    def close(self) -> None:
        for runner in self._runners.values():
            runner.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.close()


def parent_of(pid: int) -> int:
    return int(_read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()[1])


def leaders(pids: list[int]) -> list[int]:
    """Those that lead their session: of a worker's processes its first one, and not what that forked."""
    return [pid for pid in pids if os.getsid(pid) == pid]


def identity(pid: int) -> tuple[int, str]:
    """Number and start time: numbers are used again."""
    return pid, _started(pid)


def below(pid: int) -> set[tuple[int, str]]:
    """Every living process below ``pid``, as number and start time."""
    found: set[tuple[int, str]] = set()
    queue = [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            for child in map(int, _read(task).split()):
                queue.append(child)
                found.add(identity(child))
    return {process for process in found if process[1]}


def gone(processes: set[tuple[int, str]], within_s: float = 10) -> bool:
    """Whether all of them are gone, or become so while we wait; a dead process that nobody waited for is gone."""
    return eventually(lambda: not any(_started(pid) == started for pid, started in processes), within_s)


def eventually(holds: object, within_s: float = 10) -> bool:
    """Whether ``holds()`` becomes true while we wait."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


def marked(marker: str) -> list[int]:
    """Living processes that hold the file open whose name holds ``marker``."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if any(marker in link for link in links):
            found.append(int(pid))
    return found


def _started(pid: int) -> str:
    """Start time of a living process, empty for one that is gone or dead."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if fields and fields[0] not in "ZX" else ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
