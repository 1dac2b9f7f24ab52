"""The runner: slots, repeats, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from looper.errors import LooperError
from looper.models import Budget
from looper.runner import LocalRunner, slots_for
from looper.sandbox.proctree import children_of
from tests.measuring import ANSWER, QUICK, below, best, eventually, gone, job_of, one, runner_of, target_of

GOOD = "def answer(): return 1.0"


def test_nothing_is_left_after_many_experiments(tmp_path: Path) -> None:
    runner = runner_of(tmp_path / "slots", ANSWER)
    solutions = [GOOD, "1 / 0", "import os\ndef answer(): os._exit(1)"]
    for solution in solutions:
        one(runner, solution)
    staying = [os.getpid(), nursery_of(), zygote_of()]
    before = [open_files(pid) for pid in staying]
    for n in range(30):
        one(runner, solutions[n % 3])
    assert [open_files(pid) for pid in staying] == before
    assert eventually(lambda: {pid for pid, _ in below(os.getpid())} == {nursery_of(), zygote_of()})
    assert eventually(lambda: [zombies(pid) for pid in staying] == [0, 0, 0])
    assert list((tmp_path / "slots" / "0" / "scratch").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "slots" / "0" / "target").iterdir()) == [
        "evaluate.py",
        "solution.py",
    ]
    runner.close()
    assert below(os.getpid()) == set()
    assert list(tmp_path.iterdir()) == []


def nursery_of() -> int:
    (nursery,) = children_of(os.getpid())
    return nursery


def zygote_of() -> int:
    """The nursery's first child; the others come and go."""
    return children_of(nursery_of())[0]


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def zombies(pid: int) -> int:
    return sum(
        Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z" for child in children_of(pid)
    )


def test_closing_ends_what_runs(tmp_path: Path) -> None:
    runner = runner_of(tmp_path / "slots", ANSWER, slots=2)
    for _ in range(2):
        runner.submit(job_of("import time\ndef answer(): time.sleep(60)"))
    assert eventually(lambda: len(below(os.getpid())) == 12)  # nursery, zygote, and five for each experiment
    processes = below(os.getpid())
    runner.close()
    assert gone(processes, within_s=0.1)
    assert list(tmp_path.iterdir()) == []


def test_each_slot_has_its_core_and_experiments_run_at_once(tmp_path: Path) -> None:
    solution = """
    import os
    def answer():
        (core,) = os.sched_getaffinity(0)
        return float(core)
    """
    (tmp_path / "met").mkdir()
    meet = f"""
import time
from pathlib import Path
def evaluate(run):
    met = Path({str(tmp_path / "met")!r})
    with run.candidate("solution.py") as solution, run.clock():
        core = solution.call("answer")
        (met / str(run.seed)).touch()
        while len(list(met.iterdir())) < 2: time.sleep(0.01)
    run.report(loss=core)
"""
    runner = runner_of(tmp_path / "slots", meet, slots=2)
    try:
        for seed in range(2):
            assert runner.free
            runner.submit(job_of(solution, seed))
        assert not runner.free
        done = []
        while runner.busy:
            done += runner.wait(lambda: None)
        cores = sorted(os.sched_getaffinity(0))
        by_slot = {each.measurement.facts["slot"]: each.measurement.metrics["loss"] for each in done}
        assert by_slot == {0: cores[0], 1: cores[1 % len(cores)]}
    finally:
        runner.close()


def test_cores_of_slots_that_outnumber_them() -> None:
    cores = sorted(os.sched_getaffinity(0))
    slots = slots_for(target_of(QUICK), len(cores) + 1, ())
    assert [slot[0] for slot in slots] == [(core,) for core in (*cores, cores[0])]
    assert all(env["OMP_NUM_THREADS"] == "1" and env["CUDA_VISIBLE_DEVICES"] == "" for _, env in slots)
    assert len(slots_for(target_of(QUICK), None, ("some GPU",))) == len(cores)


@pytest.mark.parametrize(
    ("visible", "wanted", "expected"),
    [
        (None, None, ["0", "1"]),
        (None, 3, ["0", "1", "0"]),
        ("3,5", None, ["3", "5"]),
        ("3,5", 1, ["3"]),
        ("GPU-ab12,GPU-cd34", 2, ["GPU-ab12", "GPU-cd34"]),
    ],
)
def test_each_slot_has_its_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, wanted: int | None, expected: list[str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    target = replace(target_of(QUICK), device="cuda")
    slots = slots_for(target, wanted, ("first GPU", "second GPU"))
    assert [(cores, env["CUDA_VISIBLE_DEVICES"]) for cores, env in slots] == [((), gpu) for gpu in expected]


def test_the_gpu_of_its_slot_is_what_evaluator_and_worker_see(tmp_path: Path) -> None:
    evaluate = b"""
import os
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        assert solution.call("answer") == os.environ["CUDA_VISIBLE_DEVICES"]
    run.report(loss=float(os.environ["CUDA_VISIBLE_DEVICES"]))
"""
    devices = [((), {"CUDA_VISIBLE_DEVICES": "6"}), ((), {"CUDA_VISIBLE_DEVICES": "7"})]
    target = replace(target_of(QUICK), device="cuda")
    runner = LocalRunner(target, tmp_path / "slots", {"evaluate.py": evaluate}, {}, devices, best())
    try:
        for _ in range(2):
            runner.submit(job_of("import os\ndef answer(): return os.environ['CUDA_VISIBLE_DEVICES']"))
        done = []
        while runner.busy:
            done += runner.wait(lambda: None)
        assert sorted(each.measurement.metrics["loss"] for each in done) == [6.0, 7.0]
    finally:
        runner.close()


def test_a_nursery_that_was_killed_is_replaced(tmp_path: Path) -> None:
    runner = runner_of(tmp_path / "slots", ANSWER)
    try:
        assert one(runner, GOOD).status == "ok"
        os.kill(nursery_of(), signal.SIGKILL)
        assert eventually(lambda: below(os.getpid()) == set())
        assert one(runner, GOOD).status == "ok"
        assert zombies(os.getpid()) == 0
    finally:
        runner.close()


def test_progress_is_seen_while_it_runs(tmp_path: Path) -> None:
    solution = """
    import time
    from looper.evaluation.worker import progress
    def answer(hurry):
        while not hurry[0]:
            progress(loss=4.5)
            time.sleep(0.01)
        return 1.0
    """
    evaluate = f"""
import os, threading, time
def evaluate(run):
    hurry = run.buffer((1,), "int8")
    def wait():
        while not os.path.exists({str(tmp_path / "seen")!r}): time.sleep(0.01)
        hurry.array[0] = 1
    threading.Thread(target=wait).start()
    with run.candidate("solution.py") as solution, run.clock():
        run.report(loss=solution.call("answer", hurry))
"""
    runner = runner_of(tmp_path / "slots", evaluate)
    seen = []

    def look() -> None:
        (progress,) = runner.running()
        if progress.values:
            seen.append(progress)
            (tmp_path / "seen").touch()

    try:
        runner.submit(job_of(solution))
        (done,) = runner.wait(look)
    finally:
        runner.close()
    assert (done.measurement.status, done.measurement.reason) == ("ok", "")
    assert (seen[0].phase, dict(seen[0].values), seen[0].of_s) == ("run", {"loss": 4.5}, 5.0)


@pytest.mark.parametrize(
    ("solution", "reruns", "reason"),
    [
        ("def answer():\n  while True: pass", 2, "the machine had no core free for it."),
        ("import time\ndef answer(): time.sleep(60)", 0, "it waited instead of working."),
    ],
)
def test_a_run_that_the_machine_starved_is_measured_again(
    tmp_path: Path, solution: str, reruns: int, reason: str
) -> None:
    budget = Budget(run_s=0.5, setup_s=20, score_s=20, clock="cpu", wall_factor=1.01)
    core = min(os.sched_getaffinity(0))
    burn = f"import os; os.sched_setaffinity(0, [{core}])\nprint(flush=True)\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) for _ in range(3)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        runner = runner_of(tmp_path / "slots", ANSWER, budget)
        result = one(runner, solution)
        runner.close()
    finally:
        for other in others:
            other.kill()
            other.communicate()
    assert (result.status, result.facts["reruns"]) == ("timeout", reruns)
    assert result.reason.endswith(reason)


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    runner = runner_of(tmp_path / "slots", ANSWER)
    (tmp_path / "slots").write_text("in the way")
    try:
        with pytest.raises(LooperError, match=r"Experiment 1 cannot be measured in .*/slots/0: .*Not a directory"):
            runner.submit(job_of(GOOD))
    finally:
        runner.close()


def test_what_an_earlier_runner_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "slots" / "0" / "scratch" / "worker-x"
    left.mkdir(parents=True)
    (left / "huge").write_text("x")
    left.chmod(0)
    runner_of(tmp_path / "slots", ANSWER).close()
    assert not (tmp_path / "slots").exists()
