"""Every cause of a failure has its own status, no metric, and a line that names the cause."""

from __future__ import annotations

import pytest

from looper import sandbox
from looper.models import Budget
from tests.measuring import ANSWER, QUICK, Lab, backends

CRASHES = {
    "at import": ("1 / 0", "solution.py: ZeroDivisionError: division by zero"),
    "syntax": ("def answer(:", "solution.py: SyntaxError"),
    "in the call": ("def answer(): return [][0]", "answer(): IndexError: list index out of range"),
    "no such function": ("def other(): pass", "answer(): AttributeError: module 'solution' has no attribute 'answer'"),
    "sys.exit": ("import sys\ndef answer(): sys.exit(0)", "answer(): SystemExit: 0"),
    "exit before answering": (
        "import os\ndef answer(): os._exit(0)",
        "the worker exited with status 0 during answer(), without an answer.",
    ),
    "exit while loading": ("import os\nos._exit(3)", "the worker exited with status 3 during solution.py"),
    "a signal": (
        "import os, signal\ndef answer(): os.kill(os.getpid(), signal.SIGSEGV)",
        "the worker was ended by SIGSEGV during answer(), without an answer.",
    ),
    "killed, with memory to spare": (
        "import os\ndef answer(): os.kill(os.getpid(), 9)",
        "the worker was ended by SIGKILL during answer()",
    ),
    "an error that cannot be shown": (
        "class E(Exception):\n  def __str__(self): raise E\ndef answer(): raise E",
        "the worker exited with status 70 during answer()",
    ),
    "half a surrogate pair in the error": ("def answer(): raise ValueError('\\ud800!')", "answer(): ValueError: ?!"),
    "a fork bomb": (
        "import os, time\ndef answer():\n  while os.fork(): pass\n  time.sleep(60)",
        "processes at once (the limit is 512).",
    ),
}

PATIENT = Budget(run_s=60, setup_s=20, score_s=20)


@pytest.mark.parametrize("name", CRASHES)
def test_crash(lab: Lab, name: str) -> None:
    solution, reason = CRASHES[name]
    result = lab.measure(solution, budget=PATIENT)
    assert (result.status, dict(result.metrics)) == ("crash", {})
    assert reason in result.reason
    assert len(result.reason.splitlines()) == 1


def test_what_was_printed_before_a_crash_while_loading_is_in_the_log(lab: Lab) -> None:
    log = lab.measure("print('so far so good')\nimport no_such_module").log
    assert "so far so good" in log
    assert log[-1] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_the_trace_of_a_crash_begins_with_the_candidate(lab: Lab) -> None:
    log = lab.measure("def answer(): return 1 / 0").log
    assert log[0] == "Traceback (most recent call last):"
    assert log[1].endswith('solution.py", line 1, in answer')


LIMITED = Budget(run_s=20, setup_s=20, score_s=20, memory_mb=200)
HOGS = {
    "MemoryError": ("def answer(): raise MemoryError('so much')", "answer(): MemoryError: so much"),
    "torch on a GPU": (
        "class OutOfMemoryError(RuntimeError): pass\ndef answer(): raise OutOfMemoryError('CUDA out of memory.')",
        "answer(): OutOfMemoryError: CUDA out of memory.",
    ),
    "torch on a CPU": (
        'def answer(): raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried 9 bytes")',
        "answer(): RuntimeError: DefaultCPUAllocator: can't allocate memory",
    ),
    "one process": (
        "import time\ndef answer():\n  hog = bytearray(300 << 20)\n  time.sleep(60)",
        "memory (the limit is 200 MiB)",
    ),
    "a tree of processes": (
        "import os, time\ndef answer():\n  for _ in range(4):\n    if os.fork() == 0:\n"
        "      hog = bytearray(60 << 20)\n      time.sleep(60)\n  time.sleep(60)",
        "memory (the limit is 200 MiB)",
    ),
    "while loading": (
        "import time\nhog = bytearray(300 << 20)\ntime.sleep(60)",
        "memory (the limit is 200 MiB)",
    ),
}


@pytest.mark.parametrize("name", HOGS)
def test_out_of_memory(lab: Lab, name: str) -> None:
    solution, reason = HOGS[name]
    result = lab.measure(solution, budget=LIMITED)
    assert (result.status, dict(result.metrics)) == ("oom", {})
    assert reason in result.reason


@pytest.mark.parametrize("answer", ["float('nan')", "float('-inf')", "10 ** 400"])
def test_not_a_number(lab: Lab, answer: str) -> None:
    result = lab.measure(f"def answer(): return {answer}")
    assert (result.status, dict(result.metrics)) == ("nan", {})
    assert result.reason.startswith("loss is ")


SETUP = Budget(run_s=20, setup_s=0.4, score_s=20)
WALL = Budget(run_s=0.4, setup_s=20, score_s=20)
SCORE = Budget(run_s=20, setup_s=20, score_s=0.4)
CPU = Budget(run_s=0.2, setup_s=20, score_s=20, clock="cpu", wall_factor=2)
BUSY_MACHINE = Budget(run_s=0.2, setup_s=20, score_s=20, clock="cpu", wall_factor=200)
SCORED = """
def evaluate(run):
    with run.candidate("solution.py") as solution:
        with run.clock():
            solution.call("work")
        run.report(loss=solution.call("answer"))
"""
SPIN = "  while True: pass"
SLOW = {
    "setup": (f"while True:\n{SPIN}", ANSWER, SETUP, "the setup budget of 0.4 seconds was used up."),
    "run": (f"def answer():\n{SPIN}", ANSWER, WALL, "the run budget of 0.4 seconds was used up."),
    "run, on the CPU clock": (
        f"def answer():\n{SPIN}",
        ANSWER,
        BUSY_MACHINE,
        "the run budget of 0.2 CPU seconds was used up.",
    ),
    "score": (
        f"def work(): pass\ndef answer():\n{SPIN}",
        SCORED,
        SCORE,
        "the score budget of 0.4 seconds was used up.",
    ),
    "asleep on the CPU clock": (
        "import time\ndef answer(): time.sleep(60)",
        ANSWER,
        CPU,
        "s of wall time for 0.0 CPU seconds: it waited instead of working.",
    ),
    "stopped on the CPU clock": (
        "import os, signal\ndef answer(): os.kill(os.getpid(), signal.SIGSTOP)",
        ANSWER,
        CPU,
        "it waited instead of working.",
    ),
    "stopped": (
        "import os, signal\ndef answer(): os.kill(os.getpid(), signal.SIGSTOP)",
        ANSWER,
        WALL,
        "the run budget of 0.4 seconds was used up.",
    ),
    "deaf to every signal": (
        "import signal\nfor s in set(signal.valid_signals()) - {9, 19}:\n  signal.signal(s, signal.SIG_IGN)\n"
        f"def answer():\n{SPIN}",
        ANSWER,
        WALL,
        "the run budget of 0.4 seconds was used up.",
    ),
    "half a frame": (
        "import time\nfrom looper.evaluation import worker\n"
        "def answer():\n  worker._channel.sendall(b'\\0' * 5)\n  time.sleep(60)",
        ANSWER,
        WALL,
        "the run budget of 0.4 seconds was used up.",
    ),
    "progress without end": (
        "from looper.evaluation import worker\n"
        "def answer():\n  while True:\n    worker._send({'progress': {'step': 1}})",
        ANSWER,
        WALL,
        "the run budget of 0.4 seconds was used up.",
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_timeout(lab: Lab, name: str) -> None:
    solution, evaluate, budget, reason = SLOW[name]
    result = lab.measure(solution, evaluate, budget)
    assert (result.status, dict(result.metrics)) == ("timeout", {})
    assert result.reason.endswith(reason)
    assert result.facts["reruns"] == 0


def test_a_worker_that_stops_reading_is_no_reason_to_hang(lab: Lab) -> None:
    evaluate = """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        solution.call("stop_soon")
        while True:
            solution.call("take", bytes(1 << 24))
"""
    solution = """
import os, signal, threading, time
def stop_soon():
    threading.Thread(target=lambda: (time.sleep(0.05), os.kill(os.getpid(), signal.SIGSTOP))).start()
def take(data): pass
"""
    assert lab.measure(solution, evaluate, WALL).reason == "the run budget of 0.4 seconds was used up."


def test_a_flood_of_output_neither_slows_nor_breaks(lab: Lab) -> None:
    result = lab.measure(
        """
        import sys
        def answer():
            for _ in range(3000):
                sys.stdout.write(("x" * 99 + "\\n") * 1000)
            print("the end", flush=True)
            return 1.0
        """
    )
    assert dict(result.metrics) == {"loss": 1.0}
    assert result.log[-1] == "the end"
    assert len(result.log) == 50


def test_a_worker_that_closes_its_channel_and_lives_on(lab: Lab) -> None:
    result = lab.measure("import os, time\ndef answer():\n  os.closerange(3, 100)\n  time.sleep(60)")
    assert (result.status, dict(result.metrics)) == ("invalid", {})
    assert result.reason == "the worker closed its channel during answer() and ran on, without an answer."


FORGED = {
    "lengths beyond measure": "b'\\xff' * 12",
    "a long header": "struct.pack('>IQ', 1 << 21, 0)",
    "a payload beyond what was allowed": "struct.pack('>IQ', 2, 1 << 40) + b'{}'",
    "no JSON": "frame(b'hello')",
    "not UTF-8": "frame(b'\\xff\\xfe\\x00')",
    "deep JSON": "frame(b'[' * 100000)",
    "nested values": "frame(b'{\"value\":' + b'[' * 60 + b']' * 60 + b'}')",
    "the same key twice": 'frame(b\'{"d":{"value":1,"value":2}}\')',
    "two answers at once": 'frame(b\'{"d":{"value":1,"error":2}}\')',
    "an unknown kind": 'frame(b\'{"d":{"metric":0.0}}\')',
    "an unknown value": 'frame(b\'{"d":{"value":{"pickle":1}}}\')',
    "objects": 'value(b\'{"a":["object",[1]]}\', bytes(8))',
    "a negative side": 'value(b\'{"a":["float32",[-1]]}\')',
    "sides beyond measure": 'value(b\'{"a":["float32",[0,99999999999999999999999]]}\')',
    "a number as a shape": 'value(b\'{"a":["float32",4]}\', bytes(16))',
    "more than was sent": 'value(b\'{"a":["float32",[8]]}\', bytes(16))',
    "less than was sent": 'value(b\'{"a":["float32",[2]]}\', bytes(16))',
    "a memory file": 'value(b\'{"m":["float32",[2]]}\')',
    "an endless number": "value(b'9' * 9999)",
    "half a surrogate pair": "value(b'\"\\\\ud800\"')",
    "an error without its text": 'frame(b\'{"d":{"error":{"d":{"text":1,"trace":""}}}}\')',
    "progress that is text": 'frame(b\'{"d":{"progress":{"d":{"loss":"low"}}}}\')',
}
FORGER = """
import struct, time
from looper.evaluation import worker
def frame(header, payload=b""): return struct.pack(">IQ", len(header), len(payload)) + header + payload
def value(header, payload=b""): return frame(b'{"d":{"value":' + header + b'}}', payload)
def answer():
    worker._channel.sendall(%s)
    time.sleep(60)
"""


@pytest.mark.parametrize("name", FORGED)
def test_a_malformed_answer_is_invalid(lab: Lab, name: str) -> None:
    result = lab.measure(FORGER % FORGED[name])
    assert (result.status, dict(result.metrics)) == ("invalid", {})
    assert result.reason.startswith("the answer of answer() was refused: ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("{1, 2}", "a value of type builtins.set; send plain values and numpy arrays."),
        ("object", "a value of type builtins.type; send plain values and numpy arrays."),
        ("{1: 2}", "a dict with keys that are not str."),
        ("bytes(65 << 20)", "68157440 bytes of arrays (the limit is 67108864)."),
        ("['x' * 1000] * 2000", "bytes without its arrays (the limit is 1048576)."),
    ],
)
def test_an_answer_that_is_no_plain_value_is_invalid(lab: Lab, answer: str, reason: str) -> None:
    result = lab.measure(f"def answer(): return {answer}")
    assert (result.status, dict(result.metrics)) == ("invalid", {})
    assert result.reason.endswith(reason)


def test_an_overrun_budget_stays_overrun_whatever_the_evaluator_catches(lab: Lab) -> None:
    evaluate = """
def evaluate(run):
    try:
        with run.candidate("solution.py") as solution, run.clock():
            solution.call("answer")
    except Exception:
        pass
    run.report(loss=0.0)
"""
    result = lab.measure(f"def answer():\n{SPIN}", evaluate, WALL)
    assert (result.status, dict(result.metrics)) == ("timeout", {})


def test_a_failed_worker_answers_no_more(lab: Lab) -> None:
    evaluate = """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        try:
            solution.call("bad")
        except Exception:
            pass
        run.report(loss=solution.call("good"))
"""
    result = lab.measure("def bad(): return set()\ndef good(): return 0.0", evaluate)
    assert (result.status, dict(result.metrics)) == ("invalid", {})


def test_logs_are_plain_and_bounded(lab: Lab) -> None:
    result = lab.measure(
        """
        import os
        def answer():
            os.write(1, b"10%\\r50%\\r100%\\n\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07")
            os.write(2, b"\\x07\\x00plain\\n\\x1b]never ends\\nlast\\n")
            return 1.0
        """
    )
    assert result.log == ("100%", "red plain", "", "last")


def test_good_answers_are_measured(lab: Lab) -> None:
    result = lab.measure("def answer(): return 0.25", budget=QUICK)
    assert (result.status, dict(result.metrics), result.reason) == ("ok", {"loss": 0.25}, "")
    assert set(result.timings) == {"setup_s", "run_s", "run_cpu_s", "score_s", "total_s"}
    assert result.log == ()


@pytest.mark.parametrize("backend", backends())
def test_every_measurement_says_how_the_candidate_was_isolated(lab: Lab, backend: str) -> None:
    facts = lab.measure("def answer(): return 0.25", backend=backend).facts
    level = sandbox.BACKENDS[backend].level
    assert (facts["isolation"], facts["level"]) == (backend, level.name.lower())
    assert facts["layers"] == list(sandbox.probe(backend).layers)
    held = {sandbox.Level.PROCESS: "rlimits", sandbox.Level.LANDLOCK: "seccomp", sandbox.Level.NAMESPACES: "own-proc"}
    assert held[level] in facts["layers"]
