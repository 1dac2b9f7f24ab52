"""A real target in a real repository, driven through the real command line: what tests of whole commands share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from looper import ledger
from looper.record import Record

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-c", "from looper.cli import main; main()"]
NAME = "bowl"
TIMEOUT_S = 100.0

TARGET = '''\
"""Where is (x - 3)² smallest? With a proposer of its own whose n-th proposal is always the same kind of change."""

import re
from pathlib import Path

import looper
from looper.models import Budget, Metric, Option, Proposal, Proposer, Target

WORDS = ""  # put into every hypothesis


@looper.hookimpl
def looper_options():
    return [Option("pause", 0.0, "seconds that every run takes longer")]


@looper.hookimpl
def looper_target(options):
    return Target(
        name="bowl",
        root=Path(__file__).parent,
        editable=("solution.py", "fine.py"),
        metric=Metric("loss"),
        budget=Budget(run_s=2, setup_s=20, score_s=20),
        settings={"pause": options["pause"]},
    )


@looper.hookimpl
def looper_proposer(name):
    return Steps() if name == "steps" else None


class Steps(Proposer):
    """Number 1, 6, 11, … halves the way to the answer; then one that is worse, one that breaks, one that cheats, and
    one that changes nothing."""

    name = "steps"

    def propose(self, context):
        n = max(e.n for e in (*context.history, *context.pending)) + 1
        text = context.files["solution.py"]
        x = float(re.search(r"X = (.*)", text)[1])
        kind, new = {
            1: ("closer", f"X = {x + (3 - x) / 2!r}"),
            2: ("further", f"X = {x - n!r}"),
            3: ("break", f"X = {x!r} / 0  # {n}"),
            4: ("text", f"X = 'three'  # {n}"),
            0: ("nothing", f"X = {x!r}"),
        }[n % 5]
        files = {"solution.py": re.sub(r"X = .*", lambda _: new, text)}
        return Proposal(files, kind + WORDS, meta={"kind": kind}, cost_usd=0.25, tokens=100)
'''

EVALUATE = """\
import time

from looper.evaluation import Invalid


def evaluate(run):
    with run.candidate("solution.py") as solution:
        with run.clock():
            time.sleep(run.settings["pause"])
            x = solution.call("answer")
    if x == 13.0:
        raise RuntimeError("the evaluator did not expect 13")
    if type(x) is not float or not -1000 <= x <= 1000:
        raise Invalid(f"answer() must return a float, not {x!r:.40}.")
    run.report(loss=(x - 3) ** 2)
"""

SOLUTION = """\
X = 0.0


def answer():
    print("answering")
    return X
"""


class Project:
    """A target in the folder ``bowl`` of a new repository, and looper run on it.

    Args:
        folder: where to put it all; empty.
        in_git: False for a target that is in no repository.

    Attributes:
        home: the repository's top, or the target's own folder when it is in none: where ``.looper`` goes.
        target: the target's folder.
    """

    def __init__(self, folder: Path, in_git: bool = True) -> None:
        self.top = folder / "repo"
        self.target = self.top / NAME
        self.home = self.top if in_git else self.target
        self.scratch = folder / "tmp"
        self.target.mkdir(parents=True)
        self.scratch.mkdir()
        self.write("target.py", TARGET)
        self.write("evaluate.py", EVALUATE)
        self.write("solution.py", SOLUTION)
        self.write("fine.py", "FINE = 0.0\n")
        self.write("program.md", "Find the lowest point.\n")
        if in_git:
            self.git("init", "--quiet", "--initial-branch=main")
            self.commit("A bowl")

    def write(self, path: str, text: str) -> None:
        """Write a file of the target."""
        file = self.target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def speak(self, words: str) -> None:
        """Have every hypothesis end in these words."""
        self.write("target.py", TARGET.replace('WORDS = ""', f"WORDS = {words!r}"))

    def git(self, *args: str, data: str = "") -> str:
        """Run git in the repository; returns what it prints."""
        command = ["git", "-c", "user.name=somebody", "-c", "user.email=somebody@localhost", *args]
        done = subprocess.run(command, cwd=self.top, input=data, capture_output=True, text=True)
        assert done.returncode == 0, f"git {' '.join(args)}: {done.stderr}"
        return done.stdout

    def commit(self, message: str) -> str:
        """Commit everything; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def environment(self, **more: str) -> dict[str, str]:
        """What looper gets. Its evaluators inherit TMPDIR, by which :meth:`processes` knows them."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.scratch), **more}

    def looper(
        self, *args: str, cwd: Path | None = None, status: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a looper command to its end, in the repository; with ``status``, it must exit with that."""
        done = subprocess.run(
            [*COMMAND, *args],
            cwd=cwd or self.top,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if status is not None:
            assert done.returncode == status, f"looper {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *args: str) -> Any:
        """What a command that succeeds prints with ``--json``."""
        return json.loads(self.looper(*args, "--json", status=0).stdout)

    def run(self, *args: str, experiments: int) -> subprocess.CompletedProcess[str]:
        """Run a session with the target's own proposer; it must end well."""
        asked = ("--proposer", "steps", "--experiments", str(experiments))
        return self.looper("run", str(self.target), *asked, *args, status=0)

    def start(self, *args: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Start a looper command and return at once; the caller ends it."""
        env: Mapping[str, str] = popen.pop("env", None) or self.environment()
        return subprocess.Popen([*COMMAND, *args], **{"cwd": self.top, "env": env, **popen})

    def start_run(self, *args: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Start a session with the target's own proposer."""
        return self.start("run", str(self.target), "--proposer", "steps", *args, **popen)

    def ledger(self, tag: str = NAME) -> Path:
        return self.home / ".looper" / tag / "ledger.jsonl"

    def events(self, tag: str = NAME) -> list[dict[str, Any]]:
        """The ledger's events so far, its chain checked; none while there is no ledger."""
        return list(ledger.read(self.ledger(tag))) if self.ledger(tag).exists() else []

    def record(self, tag: str = NAME) -> Record:
        """What the session came to, by its ledger."""
        return Record.of(self.events(tag))

    def wait_for(self, event: str, count: int = 1, tag: str = NAME) -> None:
        """Wait until the ledger holds ``count`` events of that kind."""
        wait_until(lambda: sum(e["event"] == event for e in self.events(tag)) >= count, f"{count} {event!r} events")

    def processes(self) -> dict[int, str]:
        """Processes that looper started for this project and that are still there: id -> command line."""
        mark, found = os.fsencode(self.scratch.parent), {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                here = mark in (entry / "environ").read_bytes() or mark in os.fsencode(os.readlink(entry / "cwd"))
                if here:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile, or it is somebody else's
                continue
        return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until ``condition()`` is true; fail with ``what`` was waited for when it never is."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
