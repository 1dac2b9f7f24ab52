"""What looper itself costs: milliseconds an experiment, their growth with the ledger, and memory.

    pytest benchmarks/overhead.py

Everything is on: the checkout of the slot, the evaluator's process, the worker's processes, git, fsync. A trip
is proposed, measured, judged and recorded on a target that does nothing, one after the other in one slot.
The rows that a ledger starts with are real lines of real trips, with their refs in git.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from looper import loop, plugins, sandbox, session
from looper.cli.targets import BUILTINS
from looper.models import Experiment
from looper.runner import Job, LocalRunner, slots_for
from looper.stop import Request

HERE = Path(__file__).parent
ROWS = (100, 1_000, 10_000)
ROUNDS = 60
ROUNDS_OF_BACKENDS = 300
ROUNDS_OF_TORCH = 10
RESAMPLES = 2_000
PLAIN = "process"
ANSWER = b"def answer():\n    return 0\n"


class Unseen:
    """A view that shows nothing."""

    def tick(self, running): ...

    def decided(self, experiment): ...

    def interrupted(self): ...


def git(folder: Path, *args: str, data: str | None = None) -> None:
    subprocess.run(["git", "-C", str(folder), *args], check=True, input=data, text=True, capture_output=True)


@pytest.fixture
def target(tmp_path):
    """The no-op target in a git repository of its own."""
    folder = tmp_path / "noop"
    shutil.copytree(HERE / "noop", folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "-m", "noop")
    return folder


def open_lab(folder: Path, worker: bool):
    manager = plugins.manager(str(folder), BUILTINS)
    options = {"worker": worker}
    request = Request(slots=1, proposer="counting", options=options)
    return session.open_session(manager, plugins.target_of(manager, options), request, Unseen())


def trip(lab) -> None:
    """One experiment, from the question to the proposer to the verdict on the disk."""
    loop.propose(lab)
    for done in lab.wait():
        loop.settle(lab, done)


def close(opened) -> None:
    opened.lab.runner.close()
    opened.lab.write("closed", reason="benchmark over")
    opened.lab.ledger.close()
    opened.lock.close()


def grow(folder: Path, rows: int, worker: bool) -> None:
    """Bring the session's ledger to ``rows`` experiments: one real trip, written again under other numbers."""
    opened = open_lab(folder, worker)
    loop.take_up(opened.lab)
    for done in opened.lab.wait():
        loop.settle(opened.lab, done)
    trip(opened.lab)
    close(opened)
    path = folder.parent / ".looper" / "noop" / "ledger.jsonl"
    lines = path.read_bytes().splitlines()
    model = [event for event in map(json.loads, lines) if event.get("n") == 1]
    prev, refs = hashlib.sha256(lines[-1]).hexdigest(), []
    with path.open("ab") as f:
        for n in range(2, rows + 1):
            refs.append(f"create refs/looper/noop/tried/{n} {model[0]['commit']}\n")
            for event in model:
                tree = {"tree": hashlib.sha256(b"%d" % n).hexdigest()} if event["event"] == "proposed" else {}
                line = json.dumps({**event, "n": n, **tree, "prev": prev}).encode()
                f.write(line + b"\n")
                prev = hashlib.sha256(line).hexdigest()
    git(folder.parent, "update-ref", "--stdin", data="".join(refs))


@pytest.mark.parametrize("worker", [False, True], ids=["report only", "with a worker"])
@pytest.mark.parametrize("rows", ROWS)
def test_overhead(benchmark, target, rows, worker):
    grow(target, rows, worker)
    opened = open_lab(target, worker)
    try:
        benchmark.pedantic(trip, args=(opened.lab,), rounds=ROUNDS, warmup_rounds=5)
        assert opened.lab.record.next_n == rows + 1 + ROUNDS + 5
    finally:
        close(opened)
    benchmark.extra_info["rows"] = rows


@pytest.mark.parametrize("rows", ROWS)
def test_resume_and_memory(benchmark, target, rows):
    """Start, resume a ledger of so many rows, make ten experiments; peak resident memory of looper alone."""
    grow(target, rows, True)
    command = [sys.executable, "-m", "looper", "run", str(target), "--experiments", "10", "--slots", "1"]
    peaks = []

    def run():
        process = subprocess.Popen([*command, "--proposer", "counting"], cwd=target, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peaks.extend(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
            time.sleep(0.01)
        assert process.returncode == 0

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info["peak_memory_mb"] = round(max(peaks), 1)


def test_floor(benchmark):
    """For scale: a bare interpreter, started and ended."""
    benchmark.pedantic(subprocess.run, args=([sys.executable, "-I", "-c", "pass"],), rounds=ROUNDS, warmup_rounds=5)


def test_isolation(target, tmp_path, capsys):
    """What each isolation backend adds to a measurement, against none, all in turn in this one process."""
    backends = [PLAIN, *(name for name in sandbox.available() if name in sandbox.AUTOMATIC)]
    kinds = {name: (name, (), ANSWER) for name in backends}
    show(capsys, turns(target, tmp_path, kinds, ROUNDS_OF_BACKENDS), PLAIN)


def test_a_worker_that_needs_torch(target, tmp_path, capsys):
    """A zygote that has imported torch, against a candidate that imports it itself, in the best backend here."""
    pytest.importorskip("torch")
    best = sandbox.available()[0]
    importing = b"import torch\n" + ANSWER
    kinds = {"torch, cold": (best, (), importing), "torch, warm": (best, ("torch",), importing)}
    show(capsys, turns(target, tmp_path, kinds, ROUNDS_OF_TORCH), "torch, cold")


def turns(folder: Path, slots: Path, kinds, rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of each measurement of each kind: name, to backend, modules to preload and candidate."""
    options = {"worker": True}
    target = plugins.target_of(plugins.manager(str(folder), BUILTINS), options)
    locked = {"evaluate.py": (folder / "evaluate.py").read_bytes()}
    experiment = Experiment(1, 1, "", "", "", "benchmark", "", {})
    spent = {name: [] for name in kinds}
    with contextlib.ExitStack() as opened:
        runners = {}
        for name, (backend, preload, _) in kinds.items():
            place, kind = slots / name.replace(", ", "-"), replace(target, preload=preload)
            runners[name] = LocalRunner(kind, place, locked, {}, slots_for(kind, 1, ()), backend)
            opened.callback(runners[name].close)
        for number in range(-1, rounds):  # the first is for warming up
            for name, runner in runners.items():
                started = time.perf_counter()
                runner.submit(Job(experiment, {"solution.py": kinds[name][2]}, seed=1))
                (done,) = runner.wait(lambda: None)
                elapsed = (time.perf_counter() - started) * 1e3
                assert done.measurement.status == "ok", done.measurement.reason
                spent[name] += [elapsed] if number >= 0 else []
    return {name: np.array(times) for name, times in spent.items()}


def show(capsys, spent: dict[str, np.ndarray], against: str) -> None:
    """A table of medians, and of their differences to one kind with a 95% interval by the bootstrap over rounds."""
    rounds = len(spent[against])
    picks = np.random.default_rng(1).integers(0, rounds, (RESAMPLES, rounds))
    with capsys.disabled():
        print(f"\n{'milliseconds':<14}{'median':>9}{'min':>9}{'added':>9}   95% interval   ({rounds} each)")
        for name, times in spent.items():
            added = np.median(times[picks], axis=1) - np.median(spent[against][picks], axis=1)
            low, high = np.percentile(added, (2.5, 97.5))
            difference = np.median(times) - np.median(spent[against])
            print(f"{name:<14}{np.median(times):9.1f}{times.min():9.1f}{difference:9.1f}   {low:.1f} to {high:.1f}")
