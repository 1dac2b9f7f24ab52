"""Whichever process is killed, nothing of the experiment survives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.measuring import below, eventually, gone, marked
from tests.modes import MODES

ROOT = Path(__file__).parents[2]
LOOPER = """
import json, sys
from pathlib import Path
from tests.measuring import ANSWER, one, runner_of
runner = runner_of(Path(sys.argv[1]), ANSWER)
result = one(runner, sys.argv[2])
runner.close()
print(json.dumps([result.status, result.reason, dict(result.metrics)]))
"""
CANDIDATE = """
import os, signal, time
mark = open(os.environ["TMPDIR"] + "/MARKER", "w")
def answer():
    for _ in range(2):
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork(): os._exit(0)
            break
    time.sleep(60)
"""


class Running:
    """looper with one experiment under way: processes by what they are."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.marker = f"marker-{os.getpid()}-{folder.name}"
        args = [sys.executable, "-c", LOOPER, str(folder / "slots"), CANDIDATE.replace("MARKER", self.marker)]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        self.looper = subprocess.Popen([*command, *args], env=env, cwd="/", stdout=subprocess.PIPE, text=True)
        try:
            self._learn()
        except BaseException:
            self.looper.kill()
            raise

    def _learn(self) -> None:
        assert eventually(lambda: len(marked(self.marker)) == 3)
        self.all = below(self.looper.pid)
        (nursery,) = children(self.looper.pid)
        (keeper,) = children(nursery)
        evaluator, launcher = children(keeper)
        (worker,) = set(children(children(launcher)[0])) & set(marked(self.marker)) & main_processes(self.marker)
        self.pids = {
            "looper": self.looper.pid,
            "the keeper": keeper,
            "the evaluator": evaluator,
            "the launcher": launcher,
            "init": children(launcher)[0],
            "the worker": worker,
        }


def children(pid: int) -> list[int]:
    """Oldest first, as the kernel lists them; their numbers do not tell, since they start anew at some point."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def main_processes(marker: str) -> set[int]:
    """Those that lead their session: the worker does, and what it forked twice does not."""
    return {pid for pid in marked(marker) if os.getsid(pid) == pid}


@pytest.fixture(params=MODES)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    for place in (tmp_path, tmp_path.parent):  # the ordinary user's too
        place.chmod(0o777)
    tmp_path.parent.parent.chmod(0o755)
    mode: Callable[[], list[str]] = MODES[request.param]
    running = Running(mode(), tmp_path)
    yield running
    running.looper.kill()
    running.looper.wait()
    assert running.looper.stdout is not None
    running.looper.stdout.close()


ENDINGS = {
    "the keeper": ("infra", "the evaluator ended without a result"),
    "the evaluator": ("infra", "the evaluator ended without a result (it was ended by SIGKILL)"),
    "init": ("crash", "the worker was ended from outside during answer(), without an answer."),
    "the worker": ("crash", "the worker was ended by SIGKILL during answer(), without an answer."),
}


def test_looper_is_killed(running: Running) -> None:
    running.looper.kill()
    running.looper.wait()
    assert gone(running.all)
    assert marked(running.marker) == []


@pytest.mark.parametrize("who", ENDINGS)
def test_one_of_them_is_killed(running: Running, who: str) -> None:
    os.kill(running.pids[who], signal.SIGKILL)
    out, _ = running.looper.communicate()
    assert json.loads(out) == [*ENDINGS[who], {}]
    assert gone(running.all)
    assert marked(running.marker) == []


def test_the_launcher_is_killed_and_then_looper(running: Running) -> None:
    for who in ("the launcher", "looper"):
        os.kill(running.pids[who], signal.SIGKILL)
    assert gone(running.all)
    assert marked(running.marker) == []
