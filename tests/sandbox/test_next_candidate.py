"""Through the process that all workers are forked from, no candidate reaches the next, nor one that runs beside it."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from looper.sandbox import BACKENDS, Level
from tests.measuring import ANSWER, QUICK, backends, eventually, job_of, one, runner_of

EACH = pytest.mark.parametrize("backend", backends())
ASK = """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        for name, value in solution.call("look").items():
            print(name, value)
        solution.call("spoil")
    run.report(loss=1.0)
"""
LOOK = """
import atexit, builtins, gc, json, os, resource, signal, sys, threading, zlib
import numpy
import looper.evaluation.worker
def look():
    return {name: repr(value)[:900] for name, value in everything().items()}
def everything():
    return {
        "modules": zlib.crc32(repr(sorted(sys.modules)).encode()),
        "marks": [hasattr(module, "mark") for module in (builtins, json, os, numpy, looper.evaluation.worker)],
        "environment": dict(os.environ),
        "folder": [sorted(os.listdir(place)) for place in (".", os.environ["TMPDIR"])],
        "umask": os.umask(0o22),
        "signals": [str(signal.getsignal(number)) for number in (1, 2, 10, 15)],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "limits": [resource.getrlimit(kind) for kind in range(16) if kind != resource.RLIMIT_NPROC],
        "fds": sorted(os.listdir("/proc/self/fd"))[:-1],
        "forked": forked(),
        "threads": threading.active_count(),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "cores": sorted(os.sched_getaffinity(0)),
        "path": [place for place in sys.path if "looper" not in place],
        "recursion": sys.getrecursionlimit(),
        "collected": gc.isenabled(),
    }
def forked():
    read, write = os.pipe()
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    os.close(write)
    return os.read(read, 100).decode()
def spoil():
    SPOIL
"""
SPOIL = """
    for module in (builtins, json, os, numpy, looper.evaluation.worker):
        module.mark = True
    os.environ["MARK"] = "1"
    for place in (".", os.environ["TMPDIR"]):
        open(os.path.join(place, "mark"), "w").close()
    os.makedirs("kept/inner")
    os.umask(0)
    for number in (1, 2, 10, 15):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [12])
    resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    kept = [os.dup(1) for _ in range(5)]
    os.register_at_fork(after_in_child=lambda: os.write(4, b"mark"))
    atexit.register(print, "mark")
    sys.path.insert(0, ".")
    sys.setrecursionlimit(500)
    gc.disable()
    os.chdir("/")
"""


@EACH
def test_nothing_of_a_candidate_is_there_for_the_next(tmp_path: Path, backend: str) -> None:
    runner = runner_of(tmp_path / "slots", ASK, backend=backend)
    try:
        first, *later = (one(runner, LOOK.replace("\n    SPOIL", spoil)) for spoil in (SPOIL, SPOIL, " pass"))
    finally:
        runner.close()
    assert (first.reason, [each.reason for each in later]) == ("", ["", ""])
    seen = [dict(line.split(" ", 1) for line in each.log if " " in line) for each in (first, *later)]
    for each in seen:  # a folder on the host has another name every time
        each["environment"] = each["environment"].replace(ast.literal_eval(each["environment"])["TMPDIR"], "WORK")
    assert seen[0]["forked"] == "''"
    assert "True" not in seen[0]["marks"]
    assert seen[1:] == seen[:1] * 2


USER = """
import os
def answer(): return float(os.stat(".").st_uid == os.getuid() and os.getuid())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each worker a user of its own")
@pytest.mark.parametrize("backend", [name for name in backends() if BACKENDS[name].level >= Level.NAMESPACES])
def test_each_worker_is_a_user_of_its_own(tmp_path: Path, backend: str) -> None:
    runner = runner_of(tmp_path / "slots", ANSWER, backend=backend)
    try:
        users = [one(runner, USER).metrics["loss"] for _ in range(3)]
    finally:
        runner.close()
    assert len(set(users)) == 3
    assert min(users) > 60_000  # nobody's on the host


BESIDE = """
import glob, os, time
from pathlib import Path
MARK = "NAME"
for place in (".", "/tmp", "/dev/shm"):
    try: Path(place, MARK).write_text(MARK)
    except OSError: pass
def answer(): return MARK
def look():
    others = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try: others.append(open(f"/proc/{process}/cmdline").read())
        except OSError: pass
    places = [".", "..", "/tmp", "/dev/shm", "/.looper"]
    names = [name for place in places for name in glob.glob(place + "/**", recursive=True)]
    return [name for name in names if OTHER in name], len(others)
OTHER = {"one": "two", "two": "one"}[MARK]
"""
MEET = """
import time
from pathlib import Path
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        Path("MET", solution.call("answer")).touch()
        while len(list(Path("MET").iterdir())) < 2: time.sleep(0.01)
        seen, processes = solution.call("look")
        Path("SEEN", str(run.seed)).touch()
        while len(list(Path("SEEN").iterdir())) < 2: time.sleep(0.01)
    assert not seen, seen
    run.report(loss=processes)
"""


@pytest.mark.parametrize("backend", [name for name in backends() if BACKENDS[name].level >= Level.NAMESPACES])
def test_two_workers_at_once_do_not_see_each_other(tmp_path: Path, backend: str) -> None:
    for name in ("met", "seen"):
        (tmp_path / name).mkdir()
    meet = MEET.replace("MET", str(tmp_path / "met")).replace("SEEN", str(tmp_path / "seen"))
    runner = runner_of(tmp_path / "slots", meet, slots=2, backend=backend)
    try:
        for seed, name in enumerate(("one", "two")):
            runner.submit(job_of(BESIDE.replace("NAME", name), seed))
        done = []
        while runner.busy:
            done += runner.wait(lambda: None)
    finally:
        runner.close()
    assert [each.measurement.reason for each in done] == ["", ""]
    assert [each.measurement.metrics["loss"] for each in done] == [2.0, 2.0]  # init and itself


@EACH
def test_what_a_target_preloads_is_imported_once(tmp_path: Path, backend: str) -> None:
    # a module of the standard library that makes up something new at every import, and nothing else imports
    solution = """
    import sys
    def answer():
        assert "this" in sys.modules
        return float(id(sys.modules["this"]))
    """
    runner = runner_of(tmp_path / "slots", ANSWER, backend=backend, preload=("this",))
    try:
        assert len({one(runner, solution).metrics["loss"] for _ in range(3)}) == 1
    finally:
        runner.close()


@EACH
def test_nothing_is_left_on_the_host(tmp_path: Path, backend: str) -> None:
    def places() -> set[str]:
        return {name for place in ("/tmp", "/dev/shm", "/var/tmp") for name in os.listdir(place) if "looper-w" in name}

    runner = runner_of(tmp_path / "slots", ANSWER, QUICK, backend=backend)
    solution = "import os\nos.umask(0o777)\nos.makedirs('a')\ndef answer(): return 1.0"
    before = places()
    try:
        assert one(runner, solution).status == "ok"
        assert list((tmp_path / "slots" / "0" / "scratch").iterdir()) == []
        assert eventually(lambda: places() <= before)  # other sessions may be at work
    finally:
        runner.close()
    assert list(tmp_path.iterdir()) == []
