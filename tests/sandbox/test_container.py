"""Workers in containers, by a container runtime that really runs here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from looper import sandbox
from looper.evaluation.candidate import Candidate, Host
from looper.evaluation.failures import Crash, OutOfMemory
from looper.evaluation.wire import Buffer
from looper.isolation import IsolationError, Wish, choose
from looper.models import Budget
from looper.sandbox import runtime
from tests.measuring import below, eventually, gone, identity, marked, parent_of
from tests.sandbox.test_kill import KINDS, SPREAD

ROOT = Path(__file__).parents[2]

EVAL = """
def look(expression):
    import os, resource, socket, sys
    try:
        return repr(eval(expression))
    except Exception as error:
        return type(error).__name__
"""
PATIENT = Budget(run_s=600, setup_s=60, score_s=5)
HIDDEN = (os.path.dirname(np.random.__file__), os.__file__.replace("os.py", "this.py"))

GREEDY = """
import os, time
def grow(forked):
    if forked and os.fork():
        time.sleep(600)
    bytearray(400 << 20)
"""


@pytest.fixture(scope="module")
def name() -> str:
    """That of the runtime."""
    found = sandbox.probe("container")
    if found.fault:
        pytest.skip(f"no containers here: {found.fault}")
    return found.layers[0]


def worker_of(code: str, memory_mb: int | None = None, hidden: tuple[str, ...] = ()) -> Candidate:
    """A worker in a container that has loaded ``code``; close it in the end."""
    host = Host(sandbox.Sandbox("container"), "/", "cpu", (), (), memory_mb, lambda: None, lambda values: None)
    worker = Candidate(host, {"solution.py": code.encode(), "deep/data": b"17"}, hidden)
    try:
        worker.load("solution.py", None)
    except BaseException:
        worker.close()
        raise
    return worker


@pytest.fixture(scope="module")
def worker(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Candidate]:
    """One for all tests that only look around."""
    worker = worker_of(EVAL, memory_mb=600, hidden=HIDDEN)
    yield worker
    worker.close()


@pytest.mark.parametrize(
    "expression",
    [
        "os.listdir('/run')",
        "open('/etc/hosts')",
        "open('/etc/passwd')",
        "open('/etc/shadow')",
        f"os.listdir({str(ROOT / '.git')!r})",
        f"open({str(ROOT / 'README.md')!r})",
        f"open({HIDDEN[1]!r})",
        f"os.listdir({HIDDEN[0]!r})",
        "open('/.looper/target/solution.py', 'a')",
        "open('/.looper/target/new', 'w')",
        "open('/usr/new', 'w')",
        "open('/dev/new', 'w')",
        "open('/dev/mqueue/new', 'w')",
        "os.listdir('/proc/1/fd')",
        "open('/proc/1/environ')",
        "os.kill(1, 9)",
        "os.setuid(0)",
        "socket.create_connection(('192.0.2.1', 9), 1)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('/.looper/door/socket')",
    ],
)
def test_out_of_reach(worker: Candidate, expression: str) -> None:
    assert worker.call("look", expression).endswith("Error")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("open('/.looper/target/deep/data').read()", "'17'"),
        ("open('/tmp/file', 'w').write('1')", "1"),
        ("open('/dev/shm/file', 'w').write('1')", "1"),
        ("open('file', 'w').write('1')", "1"),
        ("os.system('cp /usr/bin/true /tmp/copied && /tmp/copied')", "0"),  # as compilers' output is
        ("sum(map(str.isdigit, os.listdir('/proc')))", "2"),  # process 1 and itself
        ("os.listdir('/sys/class/net')", "['lo']"),
        ("set(os.getgroups()) - {os.getgid()}", "set()"),
        ("os.getppid()", "1"),
        (f"os.getuid() in range({runtime.FIRST_UID}, {runtime.FIRST_UID + runtime.UIDS})", "True"),
        ("open('/proc/self/environ').read()", "''"),
        (r"'CapBnd:\t0000000000000000' in open('/proc/self/status').read()", "True"),
        ("sorted(set(os.environ) & {'container', 'HOSTNAME', 'TERM'})", "[]"),
    ],
)
def test_what_it_has(worker: Candidate, expression: str, value: str) -> None:
    assert worker.call("look", expression) == value


def test_what_it_writes_is_limited(worker: Candidate) -> None:
    limits, size, files = sandbox.Limits(), 0, 0
    places = {worker.call("look", f"os.stat({place!r}).st_dev"): place for place in (".", "/tmp", "/dev/shm")}
    for place in places.values():
        size += int(worker.call("look", f"os.statvfs({place!r}).f_blocks * os.statvfs({place!r}).f_bsize"))
        files += int(worker.call("look", f"os.statvfs({place!r}).f_files"))
    assert size == limits.disk_mb << 20
    if os.geteuid() == 0 or worker.layers[0] == "docker":
        assert files == limits.inodes


def test_memory_files_cross(name: str) -> None:
    given, taken = np.arange(5.0), Buffer((5,), "float64")
    worker = worker_of("def fill(given, taken): taken[:] = given * 2")
    try:
        worker.call("fill", Buffer((5,), "float64", source=given), taken)
        assert taken.array.tolist() == [0, 2, 4, 6, 8]
    finally:
        worker.close()


def test_what_it_uses_is_counted(worker: Candidate) -> None:
    before = worker.usage()
    own = "__import__('resource').getrusage(0)"
    used = float(worker.call("look", f"(sum(range(10**7)), {own}.ru_utime + {own}.ru_stime)[1]"))
    assert 0 < worker.usage().cpu_s - before.cpu_s <= used
    assert before.processes == 3  # with process 1 and the runtime's above it
    assert before.memory_mb > 1


def test_how_it_ended(name: str) -> None:
    for statement, told in (("os._exit(3)", "exited with status 3"), ("os.kill(os.getpid(), 11)", "SIGSEGV")):
        worker = worker_of(f"import os\ndef end(): {statement}")
        try:
            with pytest.raises(Crash, match=told):
                worker.call("end")
        finally:
            worker.close()


@pytest.mark.parametrize("forked", [False, True])
def test_too_much_memory(worker: Candidate, forked: bool) -> None:
    if not any(layer.startswith("cgroup") for layer in worker.layers):
        pytest.skip("this runtime holds no limit of memory here")
    greedy = worker_of(GREEDY, memory_mb=200)
    try:
        with pytest.raises(OutOfMemory):
            greedy.call("grow", forked)
    finally:
        greedy.close()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_survives(name: str, kind: str) -> None:
    marker = f"container-{os.getpid()}-{KINDS.index(kind)}"
    worker = worker_of(SPREAD.replace("MARKER", marker))
    try:
        if kind.startswith("a daemon"):
            with pytest.raises(Crash, match="exited with status 0"):
                worker.call("spread", kind)
        else:
            worker.call("spread", kind)
            assert eventually(lambda: len(marked(marker)) >= 2)
    finally:
        worker.close()
    assert marked(marker) == []


EVALUATOR = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.sandbox.test_container import SPREAD, worker_of
worker = worker_of(SPREAD.replace("MARKER", sys.argv[2]))
worker.call("spread", "a session of its own")
time.sleep(600)
"""
LOOPER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.measuring import ANSWER, one, runner_of
from tests.sandbox.test_container import PATIENT, SPREAD
code = SPREAD.replace("MARKER", sys.argv[2]) + "def answer(): spread('a session of its own'), wait()"
one(runner_of(Path(sys.argv[3]), ANSWER, PATIENT, backend="container"), code)
"""


class Running(NamedTuple):
    """A program that has a worker, and of the worker: the container's name and processes, and the launcher."""

    program: subprocess.Popen[bytes]
    container: str
    processes: set[tuple[int, str]]
    launcher: int


def run(name: str, code: str, folder: Path) -> Running:
    marker = f"container-{os.getpid()}-{folder.name}"
    program = subprocess.Popen([sys.executable, "-c", code, str(ROOT), marker, str(folder)])
    try:
        assert eventually(lambda: len(marked(marker)) == 2, 60)
        init = parent_of(min(marked(marker)))
        client, container = next(asked for asked in clients() if process_1(name, asked[1]) == init)
        return Running(program, container, {identity(init)} | below(init), parent_of(client))
    except BaseException:
        program.kill()
        raise


def process_1(name: str, container: str) -> int:
    with contextlib.suppress(OSError):  # somebody else's, and gone by now
        return int(runtime.ask(name, "inspect", "--format", "{{.State.Pid}}", container))
    return 0


def clients() -> Iterator[tuple[int, str]]:
    """The processes that asked for containers of looper's, with the containers' names."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_text().split("\0")
            if words[1:3] == ["run", "--name"]:
                yield int(path.parent.name), words[3]


@pytest.mark.parametrize("who", ["the evaluator", "looper", "the launcher"])
def test_a_container_ends_with_whoever_has_it(name: str, tmp_path: Path, who: str) -> None:
    running = run(name, LOOPER if who == "looper" else EVALUATOR, tmp_path)
    try:
        assert len(running.processes) == 3
        assert running.container in runtime.known(name)
        os.kill(running.launcher if who == "the launcher" else running.program.pid, signal.SIGKILL)
        assert gone(running.processes)
        if who == "the launcher":
            assert sandbox.probe("container").fault == ""  # as the next session does
        assert eventually(lambda: running.container not in runtime.known(name))
        assert eventually(lambda: not list(Path(tempfile.gettempdir()).glob(f"{running.container}-*")))
    finally:
        running.program.kill()
        running.program.wait()


NO_RUNTIME = """
for path in $(ls /usr/bin/podman /usr/bin/docker /bin/podman /bin/docker /usr/local/bin/docker 2>/dev/null); do
    mount --bind /dev/null "$path"
done
exec "$@"
"""


def test_without_a_runtime_it_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    script = """
from looper.isolation import IsolationError, Wish, choose
try:
    choose(Wish(sandbox="container"))
except IsolationError as error:
    print(error)
"""
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", NO_RUNTIME, "sh"]
    command = [*(alone if any(map(runtime.program, runtime.NAMES)) else []), sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "neither podman nor docker is installed" in done.stdout
    assert "apt install podman" in done.stdout


def test_nobody_gets_one_unasked() -> None:
    with pytest.raises(IsolationError, match="--sandbox auto is of a lower level than container"):
        choose(Wish(least="container"))


def test_its_level_is_its_own(name: str) -> None:
    assert choose(Wish(sandbox="container", least="container")).level == "container"
