"""What a worker finds around itself, and what of its use is counted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from looper import sandbox
from looper.evaluation.candidate import Candidate
from looper.evaluation.failures import Crash
from tests.measuring import backends, best
from tests.sandbox.workers import worker_of

EACH = pytest.mark.parametrize("backend", backends())


@EACH
def test_environment_and_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret-0451")
    leaked = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leaked, True)
    worker = worker_of(
        tmp_path,
        """
        import os, resource, sys
        def look():
            fds = {}
            for name in os.listdir("/proc/self/fd"):
                try: fds[name] = os.readlink("/proc/self/fd/" + name)
                except OSError: pass
            return {
                "environ": dict(os.environ),
                "at start": open("/proc/self/environ").read(),
                "fds": fds,
                "cwd": os.getcwd(),
                "argv": sys.argv,
                "file": __file__,
                "umask": os.umask(0),
                "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
                "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                "privileges": [line for line in open("/proc/self/status") if line.startswith(("NoNewP", "CapEff"))],
            }
        """,
        backend,
    )
    try:
        seen: dict[str, Any] = worker.call("look")
    finally:
        worker.close()
        os.close(leaked)
    assert "secret-0451" not in repr(seen)
    assert seen["environ"].pop("PATH") == "/usr/local/bin:/usr/bin:/bin"
    assert set(seen["environ"]) == {
        "HOME", "TMPDIR", "LANG", "USER", "LOGNAME", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
    }  # fmt: skip
    assert seen["environ"]["HOME"] == seen["cwd"]
    assert seen["argv"] == [seen["file"]]
    assert not os.path.exists(seen["file"])
    assert seen["fds"].pop("0") == "/dev/null"
    assert seen["fds"].pop("1") == seen["fds"].pop("2")
    (channel,) = seen["fds"].values()
    assert channel.startswith("socket:")
    assert seen["core"] == [0, 0]
    assert seen["files"] <= 1024
    rights = "0" * 16 if sandbox.BACKENDS[backend].level > sandbox.Level.PROCESS or os.geteuid() != 0 else own_rights()
    assert seen["privileges"] == [f"CapEff:\t{rights}\n", "NoNewPrivs:\t1\n"]


def own_rights() -> str:
    with open("/proc/self/status") as f:
        return next(line.split()[1] for line in f if line.startswith("CapEff"))


@EACH
def test_a_process_finds_itself_under_its_number(tmp_path: Path, backend: str) -> None:
    worker = worker_of(
        tmp_path,
        """
        import os
        def look():
            with open(f"/proc/{os.getpid()}/stat") as f:
                return int(f.read().split()[3]) == os.getppid()
        """,
        backend,
    )
    try:
        assert worker.call("look") or "own-proc" not in worker.layers
    finally:
        worker.close()


@EACH
def test_libraries_may_start_programs(tmp_path: Path, backend: str) -> None:
    code = """
    import subprocess, sys
    def run():
        return subprocess.run([sys.executable, "-c", "import numpy; print(numpy.pi)"], capture_output=True).stdout
    """
    worker = worker_of(tmp_path, code, backend)
    try:
        assert worker.call("run").startswith(b"3.14159")
    finally:
        worker.close()


@EACH
def test_libraries_may_share_work_among_processes(tmp_path: Path, backend: str) -> None:
    code = """
    import multiprocessing
    def square(x): return x * x
    def spawn():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.map(square, [2, 3])
    """
    worker = worker_of(tmp_path, code, backend)
    try:
        if sandbox.BACKENDS[backend].level == sandbox.Level.LANDLOCK:  # what they share lies in the host's /dev/shm
            with pytest.raises(Crash, match="Permission denied"):
                worker.call("spawn")
        else:
            assert worker.call("spawn") == [4, 9]
    finally:
        worker.close()


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    worker = worker_of(
        tmp_path,
        """
        def write():
            with open("big", "wb") as f:
                f.truncate(5 << 30)
        """,
    )
    try:
        with pytest.raises(Crash, match="File too large"):
            worker.call("write")
    finally:
        worker.close()


BURN = """
import os, signal, threading, time

def burn(seconds=0.2):
    end = time.process_time() + seconds
    while time.process_time() < end: pass

def own(): burn()

def threads():
    each = [threading.Thread(target=burn) for _ in range(2)]  # process_time() counts both
    for thread in each: thread.start()
    for thread in each: thread.join()

def child():
    if os.fork() == 0:
        burn()
        os._exit(0)
    os.wait()

def living_child():
    read, write = os.pipe()
    if os.fork() == 0:
        burn()
        os.write(write, b"!")
        time.sleep(60)
    os.read(read, 1)

def orphan():
    read, write = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            burn()
            os._exit(0)  # closes the pipe
        os._exit(0)
    os.wait()
    os.close(write)
    os.read(read, 1)

def forgotten():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        burn()
        os._exit(0)
    try: os.waitpid(child, 0)
    except ChildProcessError: pass

def many():
    for _ in range(8):
        if os.fork() == 0:
            burn(0.025)
            os._exit(0)
    for _ in range(8): os.wait()
"""


@EACH
@pytest.mark.parametrize("how", ["own", "threads", "child", "living_child", "orphan", "many"])
def test_cpu_time_of_the_whole_tree_is_counted(tmp_path: Path, how: str, backend: str) -> None:
    assert 0.17 <= cpu_seconds_of(tmp_path, how, backend) <= 0.5


@EACH
def test_cpu_time_of_children_that_the_kernel_forgets_is_counted(tmp_path: Path, backend: str) -> None:
    # what such a child used after the last look is lost: more on a busy machine
    assert cpu_seconds_of(tmp_path, "forgotten", backend) >= 0.05


def cpu_seconds_of(folder: Path, how: str, backend: str) -> float:
    looking: list[Candidate] = []
    worker = worker_of(folder, BURN, backend, check=lambda: [each.usage() for each in looking] and None)
    looking.append(worker)
    try:
        before = worker.usage().cpu_s
        worker.call(how)
        used = worker.usage().cpu_s - before
        assert worker.usage().cpu_s >= before + used  # never falls
        return used
    finally:
        looking.clear()
        worker.close()


@EACH
def test_memory_of_the_whole_tree_is_counted_and_init_is_not(tmp_path: Path, backend: str) -> None:
    worker = worker_of(
        tmp_path,
        """
        import os, time
        def take():
            read, write = os.pipe()
            for _ in range(2):
                if os.fork() == 0:
                    hog = bytearray(50 << 20)
                    os.write(write, b"!")
                    time.sleep(60)
            for _ in range(2):
                os.read(read, 1)
        def size():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        """,
        backend,
    )
    try:
        before = worker.usage().memory_mb
        assert before < worker.call("size") + 5  # a control group does not count what the zygote had already
        worker.call("take")
        assert worker.usage().memory_mb > before + 100
        assert worker.peak_memory_mb > before + 100
    finally:
        worker.close()


def test_a_worker_that_cannot_be_started_is_no_candidate_s_fault(tmp_path: Path) -> None:
    def refuse(order: dict[str, Any], other_end: int, fds: list[int]) -> None:
        os.write(fds[1], b"gone\n")

    before = len(os.listdir("/proc/self/fd"))
    spec = sandbox.Spec(main="looper.sandbox.scout", env={}, files={}, scratch=str(tmp_path))
    with pytest.raises(OSError, match="no worker could be started: gone"):
        sandbox.Sandbox(best(), refuse).start(spec)
    assert len(os.listdir("/proc/self/fd")) == before
