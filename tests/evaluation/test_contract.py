"""What goes wrong in the evaluator itself is ``infra``: nobody's verdict, and never a metric."""

from __future__ import annotations

import pytest

from tests.measuring import ANSWER, Lab, marked

GOOD = "def answer(): return 0.5"
CALL = """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        answer = solution.call("answer")
"""
FAULTS = {
    "raises": ("def evaluate(run): run.nothing", "evaluate.py: AttributeError: 'Run' object has no attribute"),
    "raises at import": ("1 / 0", "evaluate.py: ZeroDivisionError: division by zero"),
    "is no Python": ("def", "evaluate.py: SyntaxError"),
    "has no evaluate": ("", "evaluate.py: AttributeError: module 'evaluate' has no attribute 'evaluate'"),
    "reports nothing": (CALL, "evaluate.py: RuntimeError: evaluate.py ended without a call of run.report()."),
    "reports twice": (
        CALL + "    run.report(loss=1.0)\n    run.report(loss=0.0)",
        "evaluate.py: RuntimeError: evaluate.py called run.report() twice.",
    ),
    "fails after its report": (CALL + "    run.report(loss=1.0)\n    1 / 0", "evaluate.py: ZeroDivisionError"),
    "reports another name": (CALL + "    run.report(los=1.0)", "evaluate.py must report 'loss'; it reported los."),
    "reports text": (CALL + "    run.report(loss='1.0')", "evaluate.py reported loss='1.0', which is not a number."),
    "reports a truth": (CALL + "    run.report(loss=True)", "evaluate.py reported loss=True, which is not a number."),
    "sends what cannot be sent": (
        'def evaluate(run):\n    with run.candidate("solution.py") as solution: solution.call("answer", {1})',
        "evaluate.py: WireError: a value of type builtins.set",
    ),
    "calls after the block": (
        CALL + '    solution.call("answer")',
        "answer() was called after the end of its `with run.candidate(...)` block.",
    ),
    "names no editable file": (
        'def evaluate(run):\n    with run.candidate("evaluate.py"): pass',
        "run.candidate('evaluate.py'): not an editable file of this target; those are: solution.py.",
    ),
    "imports the candidate": (
        "import solution\ndef evaluate(run): run.report(loss=0.0)",
        "evaluate.py: ImportError: solution.py is an editable file",
    ),
    "exits": ("import sys\ndef evaluate(run): sys.exit(0)", "evaluate.py: SystemExit: 0"),
    "exits at once": (
        "import os\ndef evaluate(run): os._exit(0)",
        "the evaluator ended without a result (it exited with status 0)",
    ),
    "dies": (
        "import os\ndef evaluate(run): os.kill(os.getpid(), 11)",
        "the evaluator ended without a result (it was ended by SIGSEGV)",
    ),
    "writes to the pipe of the result": (
        "import os\ndef evaluate(run):\n"
        "    for fd in range(3, 30):\n"
        '        try: os.write(fd, b\'{"event": "result"}\\n\')\n'
        "        except OSError: pass\n"
        "    run.report(loss=1.0)",
        "the evaluator ",  # its keeper, which is written to as well, may be the first to give up
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_evaluator(lab: Lab, name: str) -> None:
    evaluate, reason = FAULTS[name]
    result = lab.measure(GOOD, evaluate)
    assert (result.status, dict(result.metrics)) == ("infra", {})
    assert reason in result.reason


def test_the_log_of_a_fault_says_where(lab: Lab) -> None:
    log = lab.measure(GOOD, "def evaluate(run):\n    print('here')\n    1 / 0").log
    assert log[0] == "here"
    assert any(line.endswith('evaluate.py", line 3, in evaluate') for line in log)
    assert log[-1] == "ZeroDivisionError: division by zero"


def test_a_result_printed_is_no_result(lab: Lab) -> None:
    forged = '{"event": "result", "status": "ok", "metrics": {"loss": 0.0}}'
    solution = f"import os\ndef answer():\n  print({forged!r}, flush=True)\n  os.write(1, b'loss: 0.0')\n  return 0.5"
    result = lab.measure(solution, CALL + f"    print({forged!r})\n    run.report(loss=answer)")
    assert dict(result.metrics) == {"loss": 0.5}
    assert forged in result.log


def test_an_evaluator_that_prints_without_end_is_heard_out(lab: Lab) -> None:
    evaluate = "def evaluate(run):\n    for _ in range(2000): print('x' * 99999)\n    run.report(loss=2.0)"
    result = lab.measure(GOOD, evaluate)
    assert dict(result.metrics) == {"loss": 2.0}
    assert sum(len(line) for line in result.log) <= 64 << 10


def test_the_setup_budget_starts_with_the_worker(lab: Lab) -> None:
    evaluate = "import time\ndef evaluate(run):\n    time.sleep(0.3)\n    run.report(loss=0.0)"
    assert lab.measure(GOOD, evaluate).timings["setup_s"] == 0.0


def test_seed_and_settings_reach_the_evaluator_and_not_the_worker(lab: Lab) -> None:
    seed = 7_345_678_901_234_567
    evaluate = """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        seen = solution.call("look", run.share(run.rng.random(4)), run.buffer((2,), "int8"))
    assert str(run.seed) not in seen and "evaluate" not in seen, seen
    run.report(loss=run.seed % 1000)
"""
    solution = """
import glob, os
def look(*shared):
    seen = [open(path, "rb").read() for path in ("/proc/self/environ", "/proc/self/cmdline")]
    names = [os.readlink(path) for path in glob.glob("/proc/self/fd/*") if os.path.lexists(path)]
    names += open("/proc/self/maps").read().splitlines()
    return repr([seen, dict(os.environ), [name for name in names if "site-packages" not in name], os.getcwd()])
"""
    result = lab.measure(solution, evaluate, seed=seed)
    assert (result.status, result.reason) == ("ok", "")
    assert result.seed == seed


def test_equal_seeds_give_equal_numbers(lab: Lab) -> None:
    evaluate = "def evaluate(run): run.report(loss=run.rng.random())"
    first, again, other = (lab.measure(GOOD, evaluate, seed=seed).metrics["loss"] for seed in (1, 1, 2))
    assert first == again != other


def test_progress_is_passed_on_and_clean(lab: Lab) -> None:
    evaluate = """
def evaluate(run):
    told = []
    run._emit = lambda event, **fields: told.append((event, fields))
    with run.candidate("solution.py") as solution, run.clock():
        solution.call("answer")
    (values,) = [fields["values"] for event, fields in told if event == "progress"]
    assert values == {"loss": 2.5, "clean": 1.0}, values
    run.report(loss=0.0)
"""
    solution = """
from looper.evaluation.worker import progress
def answer():
    progress(loss=2.5, nothing=float("nan"), **{"cl\\x1b[31mean": 1})
    progress(loss=1.0)
"""
    assert lab.measure(solution, evaluate).reason == ""


def test_a_worker_starts_alike_every_time_but_for_its_random_numbers(lab: Lab) -> None:
    solution = """
import random, numpy
def answer(): return float(random.random() + numpy.random.random())
"""
    assert lab.measure(solution).metrics != lab.measure(solution).metrics


def test_a_candidate_s_folder_is_fresh_and_its_own(lab: Lab) -> None:
    solution = """
    import os
    def answer():
        os.makedirs("a/b")
        os.chmod("a", 0)
        open("c", "w").close()
        return float(len(os.listdir(".")))
    """
    assert [lab.measure(solution).metrics["loss"] for _ in range(2)] == [2.0, 2.0]


def test_output_of_the_evaluator_comes_before_that_of_the_worker(lab: Lab) -> None:
    evaluate = f"print('loading'){ANSWER}    print('scoring')\n"
    result = lab.measure("def answer():\n  print('answering')\n  return 1.0", evaluate)
    assert result.log == ("loading", "scoring", "answering")


def test_the_clock_may_be_stopped_and_workers_come_and_go(lab: Lab) -> None:
    evaluate = """
def evaluate(run):
    with run.candidate("solution.py") as first:
        with run.clock():
            first.call("work")
        with run.candidate("solution.py") as second, run.clock():
            second.call("work")
    with run.clock(), run.candidate("solution.py") as third:
        third.call("work")
    run.report(loss=run.timings["run_cpu_s"])
"""
    solution = """
import time
def work():
    end = time.process_time() + 0.2
    while time.process_time() < end: pass
"""
    assert lab.measure(solution, evaluate).metrics["loss"] >= 0.5


def test_what_the_evaluator_leaves_running_ends_with_it(lab: Lab) -> None:
    evaluate = """
import os, subprocess, time
def evaluate(run):
    mark = os.path.join(run.root, "..", "evaluator-s-own")
    if os.fork() == 0:
        os.setsid()
        with open(mark, "w"):
            subprocess.run(["sleep", "60"])
    while not os.path.exists(mark): time.sleep(0.01)
    run.report(loss=1.0)
"""
    assert lab.measure(GOOD, evaluate).status == "ok"
    assert marked("evaluator-s-own") == []


NAMED = """
def evaluate(run):
    with run.candidate("solution.py"FILES) as solution, run.clock():
        run.report(loss=solution.call("answer"))
"""
MISSED = {
    "a module": ("import helper\ndef answer(): return helper.ONE", "helper.py"),
    "a module of a package": ("import parts.one\ndef answer(): return parts.one.ONE", "parts/one.py"),
    "a file, in the call": (
        "import os\ndef answer(): return float(len(open(os.path.dirname(__file__) + '/helper.py').read()) == 9)",
        "helper.py",
    ),
}


@pytest.mark.parametrize("name", MISSED)
def test_a_locked_file_that_the_worker_was_not_given_is_said_so(lab: Lab, name: str) -> None:
    solution, path = MISSED[name]
    locked = {"helper": "ONE = 1.0", "parts/one": "ONE = 1.0", "other": ""}
    result = lab.measure(solution, NAMED.replace("FILES", ""), **locked)
    assert (result.status, dict(result.metrics)) == ("crash", {})
    assert result.reason.endswith(f"what evaluate.py names: run.candidate(..., files=[{path!r}]))")
    given = lab.measure(solution, NAMED.replace("FILES", f", files=[{path!r}]"), **locked)
    assert (given.reason, dict(given.metrics)) == ("", {"loss": 1.0})


def test_a_file_that_nobody_has_is_the_candidate_s_own_fault(lab: Lab) -> None:
    result = lab.measure("import no_such_helper", NAMED.replace("FILES", ""), helper="ONE = 1.0")
    assert result.reason == "solution.py: ModuleNotFoundError: No module named 'no_such_helper'"
