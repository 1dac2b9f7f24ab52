"""Nothing of a worker's tree outlives it, whatever it forked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.measuring import backends, below, eventually, gone, identity, leaders, marked, parent_of
from tests.sandbox.workers import worker_of

SPREAD = """
import os, signal, subprocess, sys, time

mark = open(os.environ["TMPDIR"] + "/MARKER", "w")

def child(action):
    if os.fork() == 0:
        try:
            action()
        finally:
            os._exit(0)

def wait():
    while True: time.sleep(60)

def orphan(action=wait):
    def fork_and_exit():
        os.setsid()
        child(action)
    child(fork_and_exit)

def deaf():
    for s in set(signal.valid_signals()) - {9, 19}: signal.signal(s, signal.SIG_IGN)
    while True: pass

def hop():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if os.fork(): os._exit(0)

def daemon():
    orphan()
    time.sleep(0.1)
    os._exit(0)

def programs():
    for _ in range(3):
        subprocess.Popen(["sleep", "60"], stdout=sys.stdout, pass_fds=[mark.fileno()], start_new_session=True)

KINDS = {
    "five children": lambda: [child(wait) for _ in range(5)],
    "a session of its own": lambda: child(lambda: (os.setsid(), wait())),
    "orphans": lambda: [orphan() for _ in range(3)],
    "orphans of orphans": lambda: orphan(lambda: orphan(lambda: orphan(wait))),
    "stopped children": lambda: [child(lambda: os.kill(os.getpid(), signal.SIGSTOP)) for _ in range(3)],
    "deaf children": lambda: [child(deaf) for _ in range(2)],
    "children that change their number": lambda: orphan(hop),
    "programs that hold the output": programs,
    "a daemon, and an exit": daemon,
}

def spread(kind):
    KINDS[kind]()
"""
KINDS = [line.split('"')[1] for line in SPREAD.splitlines() if line.startswith('    "')]


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_survives(tmp_path: Path, kind: str, backend: str) -> None:
    marker = f"marker-{os.getpid()}-{KINDS.index(kind)}-{backend}"
    worker = worker_of(tmp_path, SPREAD.replace("MARKER", marker), backend)
    try:
        if kind.startswith("a daemon"):
            with pytest.raises(Exception, match="exited with status 0"):
                worker.call("spread", kind)
        else:
            worker.call("spread", kind)
            assert eventually(lambda: len(marked(marker)) >= 2)
    finally:
        worker.close()
    assert marked(marker) == []
    assert below(os.getpid()) == set()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("backend", backends())
def test_the_tree_ends_with_its_evaluator(tmp_path: Path, backend: str) -> None:
    marker = f"marker-{os.getpid()}-evaluator-{backend}"
    code = f"""
import sys, time
from pathlib import Path
from tests.sandbox.workers import worker_of
worker = worker_of(Path({str(tmp_path)!r}), {SPREAD.replace("MARKER", marker)!r}, {backend!r})
worker.call("spread", "orphans")
worker.call("spread", "deaf children")
time.sleep(60)
"""
    evaluator = subprocess.Popen([sys.executable, "-c", code])
    try:
        # those on their way to be orphans lead sessions too, for an instant
        assert eventually(lambda: len(marked(marker)) >= 6 and len(leaders(marked(marker))) == 1)
        (leader,) = leaders(marked(marker))
        zygote = parent_of(parent_of(parent_of(leader)))  # of the launcher, of init
        assert eventually(lambda: len(below(zygote)) >= 8)  # launcher, init, worker, three orphans, two children
        processes = {identity(zygote), *below(zygote)}
    finally:
        evaluator.kill()
        evaluator.wait()
    assert gone(processes)
    assert eventually(lambda: marked(marker) == [])
