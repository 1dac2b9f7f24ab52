"""Whichever process is killed, nothing of the experiment survives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from looper.sandbox.proctree import children_of
from tests.measuring import backends, below, best, eventually, gone, leaders, marked, parent_of
from tests.modes import no_namespaces, open_folder, ordinary_user

__all__ = ["open_folder"]
ROOT = Path(__file__).parents[2]
LOOPER = """
import json, sys
from pathlib import Path
from looper.models import Budget
from tests.measuring import one, runner_of
folder, evaluate, first, backend = sys.argv[1:]
runner = runner_of(Path(folder), evaluate, Budget(run_s=300, setup_s=300, score_s=300), backend=backend)
for solution in (first, "def answer(): return 0.5"):
    result = one(runner, solution)
    print(json.dumps([result.status, result.reason, dict(result.metrics)]), flush=True)
runner.close()
"""
EVALUATE = """
import os
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        open("READY", "w").close()
        while not os.path.exists("GATE"):
            solution.call("wait")
        run.report(loss=solution.call("answer"))
"""
CANDIDATE = """
import os, signal, time
mark = open(os.environ["TMPDIR"] + "/MARKER", "w")
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork(): os._exit(0)
        time.sleep(600)
    os.wait()
def wait(): time.sleep(0.1)
def answer(): return 1.0
"""


class Running:
    """looper with one experiment under way: processes by what they are."""

    def __init__(self, command: list[str], folder: Path, backend: str) -> None:
        self.marker = f"marker-{os.getpid()}-{folder.name}"
        self.gate, self.ready = folder / "gate", folder / "ready"
        files = [
            EVALUATE.replace("GATE", str(self.gate)).replace("READY", str(self.ready)),
            CANDIDATE.replace("MARKER", self.marker),
        ]
        args = [sys.executable, "-c", LOOPER, str(folder / "slots"), *files, backend]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
        self.looper = subprocess.Popen([*command, *args], env=env, cwd="/", stdout=subprocess.PIPE, text=True)
        try:
            self._learn()
        except BaseException:
            self.end()
            raise

    def _learn(self) -> None:
        assert eventually(self.ready.exists, within_s=60)
        assert len(marked(self.marker)) == 3
        self.all = below(self.looper.pid)
        (nursery,) = children_of(self.looper.pid)
        zygote, keeper = children_of(nursery)
        (evaluator,) = children_of(keeper)
        (launcher,) = children_of(zygote)
        (worker,) = leaders(marked(self.marker))
        init = parent_of(worker)
        self.pids = {
            "looper": self.looper.pid,
            "the nursery": nursery,
            "the zygote": zygote,
            "the keeper": keeper,
            "the evaluator": evaluator,
            "the launcher": launcher,
            "init": init,
            "the worker": worker,
        }

    def end(self) -> None:
        self.looper.kill()
        self.looper.communicate()

    def line(self) -> str:
        """What looper says next."""
        assert self.looper.stdout is not None
        return self.looper.stdout.readline()


# The best backend wherever looper can be, and every other one at least here.
PLACES = {
    **{f"{backend}, as it is": (list, backend) for backend in backends()},
    "landlock, no namespaces": (no_namespaces, "landlock"),
    f"{best()}, ordinary user": (ordinary_user, best()),
}


@pytest.fixture(params=PLACES)
def running(request: pytest.FixtureRequest, open_folder: Path) -> Iterator[Running]:
    mode, backend = PLACES[request.param]
    running = Running(mode(), open_folder, backend)
    yield running
    running.end()


LOST = "the evaluator ended without a result"
ENDED = ["crash", "the worker was ended from outside during wait(), without an answer.", {}]
UNHARMED = ["ok", "", {"loss": 1.0}]
ENDINGS = {
    "the nursery": UNHARMED,
    "the zygote": UNHARMED,
    "the keeper": ["infra", LOST, {}],
    "the evaluator": ["infra", f"{LOST} (it was ended by SIGKILL)", {}],
    "the launcher": ENDED,
    "init": ENDED,
    "the worker": ["crash", "the worker was ended by SIGKILL during wait(), without an answer.", {}],
}
NEXT = ["ok", "", {"loss": 0.5}]


def test_looper_is_killed(running: Running) -> None:
    running.looper.kill()
    running.looper.wait()
    assert gone(running.all)
    assert marked(running.marker) == []


@pytest.mark.parametrize("who", ENDINGS)
def test_one_of_them_is_killed(running: Running, who: str) -> None:
    os.kill(running.pids[who], signal.SIGKILL)
    if ENDINGS[who] is UNHARMED:
        running.gate.touch()
    assert json.loads(running.line()) == ENDINGS[who]
    running.gate.touch()
    assert json.loads(running.line()) == NEXT
    assert running.looper.wait() == 0
    assert gone(running.all)
    assert marked(running.marker) == []


@pytest.mark.parametrize("who", ["the launcher", "the zygote", "the nursery", "the keeper"])
def test_one_of_them_is_killed_and_then_looper(running: Running, who: str) -> None:
    for each in (who, "looper"):
        os.kill(running.pids[each], signal.SIGKILL)
    assert gone(running.all)
    assert marked(running.marker) == []
