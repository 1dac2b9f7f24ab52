"""The filter on system calls: what it refuses, and that ordinary programs do not notice."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from looper.sandbox import seccomp
from tests.modes import ordinary_user
from tests.sandbox.alone import NO_NEW_PRIVS, run, told

MACHINE = os.uname().machine
COLUMN = list(seccomp.ARCHITECTURES).index(MACHINE)
STRICT = "seccomp.install(own_files=False, memfds=False)\n"
LOOSE = "seccomp.install(own_files=True, memfds=True)\n"
HEADERS = {
    "x86_64": ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"],
    "aarch64": ["/usr/include/asm-generic/unistd.h"],
}


@pytest.fixture(params=[list, ordinary_user], ids=["as it is", "ordinary user"])
def user(request: pytest.FixtureRequest) -> list[str]:
    return request.param()


def number(call: tuple[int, int]) -> int:
    return call[COLUMN]


def test_refused_calls(user: list[str]) -> None:
    script = f"{STRICT}tell({{name: call(number) for name, number in json.loads(sys.argv[1]).items()}})"
    never = seccomp.FORBIDDEN | seccomp.ATTRIBUTES
    refused = {**dict.fromkeys(never, "EPERM"), **dict.fromkeys(seccomp.MISSING, "ENOSYS")}
    numbers = {name: (never | seccomp.MISSING)[name][COLUMN] for name in refused}
    here = {name: n for name, n in numbers.items() if n is not None}
    assert told(user, script, json.dumps(here)) == {name: refused[name] for name in here}


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = next((Path(path) for path in HEADERS[machine] if Path(path).exists()), None)
    if header is None:
        pytest.skip(f"no kernel header for {machine} is installed (linux-libc-dev)")
    known = {name: int(n) for name, n in re.findall(r"#define __NR_(\w+)\s+(\d+)", header.read_text())}
    named = ("memfd_create", "clone", "unshare", "personality", "ioctl", "prlimit64", "socket", "socketpair", "seccomp")
    ours = {name: getattr(seccomp, name.upper()) for name in named}
    ours |= seccomp.FORBIDDEN | seccomp.ATTRIBUTES | seccomp.MISSING
    column = list(seccomp.ARCHITECTURES).index(machine)
    newest = {"statmount", "listmount", "open_tree_attr", "setxattrat", "removexattrat", "file_setattr", "fchmodat2"}
    newer = newest - known.keys()  # than the oldest headers in use
    assert {name: numbers[column] for name, numbers in ours.items() if name not in newer} == {
        name: known.get(name) for name in ours if name not in newer
    }


def test_arguments(user: list[str]) -> None:
    script = f"""{STRICT}
CLONE, UNSHARE, PERSONALITY, IOCTL, PRLIMIT = json.loads(sys.argv[1])
NEW = [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)]
HIGH = 1 << 40  # the kernel drops it
def clone(flags):
    if (child := libc.syscall(ctypes.c_long(CLONE), ctypes.c_long(flags), None, None, None, None)) == 0:
        os._exit(0)
    return "ok" if child > 0 and os.waitpid(child, 0)[1] == 0 else errno.errorcode[ctypes.get_errno()]
read, write = os.pipe()
limits = ctypes.create_string_buffer(16)
tell({{
    "clone": clone(17), "clone for a thread's signal": clone(17 | HIGH),
    "clone, namespaces": [clone(17 | new) for new in NEW] + [clone(17 | new | HIGH) for new in NEW],
    "clone, sibling": clone(17 | 0x8000),
    "unshare": call(UNSHARE, 0x400),
    "unshare, namespaces": [call(UNSHARE, new) for new in [*NEW, 0x80, 0x400 | NEW[0]]],
    "personality": [call(PERSONALITY, value) for value in (0, 0xFFFFFFFF)],
    "another personality": [call(PERSONALITY, value) for value in (8, 0x40000, 0x40000 | HIGH)],
    "ioctl": call(IOCTL, read, 0x541B, limits),
    "ioctl, typing": [call(IOCTL, read, value | high, limits) for value in (0x5412, 0x541C) for high in (0, HIGH)],
    "own limits": call(PRLIMIT, 0, 7, None, limits),
    "others' limits": [call(PRLIMIT, pid, 7, None, limits) for pid in (os.getppid(), 1)],
    "unknown calls": [call(number) for number in (470, 600, (1 << 31) - 1, -1)],
}})"""
    calls = (seccomp.CLONE, seccomp.UNSHARE, seccomp.PERSONALITY, seccomp.IOCTL, seccomp.PRLIMIT64)
    assert told(user, script, str([number(c) for c in calls])) == {
        "clone": "ok",
        "clone for a thread's signal": "ok",
        "clone, namespaces": ["EPERM"] * 14,
        "clone, sibling": "EPERM",
        "unshare": "ok",
        "unshare, namespaces": ["EPERM"] * 9,
        "personality": ["ok"] * 2,
        "another personality": ["EPERM"] * 3,
        "ioctl": "ok",
        "ioctl, typing": ["EPERM"] * 4,
        "own limits": "ok",
        "others' limits": ["EPERM"] * 2,
        "unknown calls": ["ENOSYS"] * 4,
    }


@pytest.mark.parametrize(("install", "unix", "memfd"), [(STRICT, "EACCES", "ENOSYS"), (LOOSE, "ok", "ok")])
def test_sockets_and_files_in_memory(user: list[str], install: str, unix: str, memfd: str) -> None:
    script = f"""{install}
S = socket
tell({{
    "unix": [attempt(S.socket, S.AF_UNIX, kind) for kind in (S.SOCK_STREAM, S.SOCK_DGRAM)],
    "others": [attempt(S.socket, family, kind) for family in range(2, 46) for kind in (S.SOCK_STREAM, S.SOCK_DGRAM)],
    "connected for good": [attempt(S.socketpair, S.AF_UNIX, kind) for kind in (S.SOCK_STREAM, S.SOCK_SEQPACKET)],
    "datagrams": [attempt(S.socketpair, S.AF_UNIX, kind) for kind in (S.SOCK_DGRAM, S.SOCK_RAW)],
    "other pairs": [attempt(S.socketpair, family) for family in (S.AF_INET, S.AF_TIPC)],
    "memfd": attempt(os.memfd_create, "x"),
}})"""
    assert told(user, script) == {
        "unix": [unix] * 2,
        "others": ["EACCES"] * 88,
        "connected for good": ["ok"] * 2,
        "datagrams": [unix] * 2,
        "other pairs": ["EACCES"] * 2,
        "memfd": memfd,
    }


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_SEQPACKET"])
def test_a_pair_reaches_nobody_else(kind: str) -> None:
    script = f"""
kind = socket.{kind}
listener = socket.socket(socket.AF_UNIX, kind)
listener.bind("\\0looper-test-%d" % os.getpid())
listener.listen()
reachable = attempt(socket.socket(socket.AF_UNIX, kind).connect, listener.getsockname())
{STRICT}
one, other = socket.socketpair(socket.AF_UNIX, kind)
unconnect = ctypes.create_string_buffer(16)  # the family AF_UNSPEC
paired = [attempt(one.connect, listener.getsockname()), attempt(one.listen)]
libc.connect(one.fileno(), unconnect, 16)
other.close()
tell([reachable, *paired, attempt(one.connect, listener.getsockname()), attempt(one.listen)])"""
    assert told([], script) == ["ok", "EISCONN", "EINVAL", "EISCONN", "EINVAL"]


@pytest.mark.skipif(MACHINE != "x86_64", reason="only x86_64 has two older instruction sets beside its own")
def test_other_instruction_sets() -> None:
    script = """
import mmap
GETPID_BY_INT80 = b"\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3"
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(GETPID_BY_INT80)
getpid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
x32 = call((1 << 30) | 39)
print(x32, flush=True)
getpid()
"""
    if run([], script).returncode != 0:
        pytest.skip("this kernel runs no 32-bit programs")
    filtered = run([], NO_NEW_PRIVS + STRICT + script)
    assert (filtered.returncode, filtered.stdout) == (-signal.SIGSYS, "ENOSYS\n")


def test_it_holds_in_every_thread_and_program(user: list[str]) -> None:
    script = f"""
import threading
heard, filtered = [], threading.Event()
thread = threading.Thread(target=lambda: (filtered.wait(), heard.append(attempt(socket.socket))))
thread.start()
{STRICT}
filtered.set()
thread.join()
code = "import socket; socket.socket()"
program = subprocess.run([sys.executable, "-I", "-c", code], stderr=subprocess.PIPE, text=True)
tell([*heard, program.stderr.splitlines()[-1]])"""
    assert told(user, script) == ["EACCES", "PermissionError: [Errno 13] Permission denied"]


@pytest.mark.parametrize("install", [STRICT, LOOSE], ids=["strict", "loose"])
def test_ordinary_programs(user: list[str], install: str) -> None:
    script = f"""{install}
import multiprocessing, threading
from multiprocessing import shared_memory
from concurrent.futures import ThreadPoolExecutor
import numpy

def in_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(abs, [-1, -2])

def shared():
    memory = shared_memory.SharedMemory(create=True, size=8)
    memory.buf[:2] = b"hi"
    other = shared_memory.SharedMemory(memory.name)
    text = bytes(other.buf[:2]).decode()
    other.close(), memory.close(), memory.unlink()
    return text

tell({{
    "threads": list(ThreadPoolExecutor(2).map(abs, [-1, -2])),
    "fork": in_pool("fork"),
    "spawn": in_pool("spawn"),
    "forkserver": in_pool("forkserver") if {install == LOOSE} else "",
    "shared memory": shared(),
    "program": subprocess.run(["echo", "hi"], stdout=subprocess.PIPE, text=True).stdout,
    "shell": subprocess.run("ulimit -n && nice && ls / > /dev/null && echo hi", shell=True,
        stdout=subprocess.PIPE, text=True).stdout.split()[-1],
    "numpy": float((numpy.ones((300, 300)) @ numpy.ones((300, 300)))[0, 0]),
}})"""
    assert told(user, script) == {
        "threads": [1, 2],
        "fork": [1, 2],
        "spawn": [1, 2],
        "forkserver": [1, 2] if install == LOOSE else "",
        "shared memory": "hi",
        "program": "hi\n",
        "shell": "hi",
        "numpy": 300.0,
    }


@pytest.mark.slow
def test_torch() -> None:
    pytest.importorskip("torch", reason="needs torch")
    script = f"""{STRICT}
import torch
torch.set_num_threads(2)
matrix = torch.ones(400, 400, requires_grad=True)
(matrix @ matrix).sum().backward()
tell([matrix.grad[0, 0].item(), torch.get_num_threads()])"""
    assert told([], script) == [800.0, 2]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_compiling(tmp_path: Path) -> None:
    (tmp_path / "one.c").write_text(
        '#include <stdio.h>\nint answer(void) { return 42; }\nint main(void) { puts("hi"); }\n'
    )
    program = f"""{LOOSE}
os.chdir(sys.argv[1])
subprocess.run(["cc", "-O2", "-pipe", "-o", "one", "one.c"], check=True)
tell(subprocess.run(["./one"], stdout=subprocess.PIPE, text=True).stdout)"""
    assert told([], program, str(tmp_path)) == "hi\n"
    library = f"""{STRICT}
os.chdir(sys.argv[1])
subprocess.run(["cc", "-O2", "-pipe", "-shared", "-fPIC", "-o", "one.so", "one.c"], check=True)
tell(ctypes.CDLL("./one.so").answer())"""  # as Triton and Inductor do; a linker cannot make a program executable
    assert told([], library, str(tmp_path)) == 42


def test_a_refusal_is_an_error() -> None:
    refused = run(ordinary_user(), STRICT)
    assert refused.returncode == 1
    assert "PermissionError: [Errno 13] no system call filter: Permission denied" in refused.stderr


def test_a_machine_without_a_list_is_an_error() -> None:
    with pytest.raises(OSError, match="no list of system calls for riscv64"):
        seccomp.program("riscv64", False, False)


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
def test_the_program_of_each_machine(machine: str) -> None:
    column = list(seccomp.ARCHITECTURES).index(machine)
    program = seccomp.program(machine, False, False)

    def verdict(call: int, *arguments: int) -> int:
        return result(program, seccomp.ARCHITECTURES[machine], call, *arguments)

    whole = {**dict.fromkeys([*seccomp.FORBIDDEN.values(), *seccomp.ATTRIBUTES.values()], errno.EPERM)}
    whole |= {**dict.fromkeys([*seccomp.MISSING.values(), seccomp.MEMFD_CREATE], errno.ENOSYS)}
    whole |= {seccomp.SOCKET: errno.EACCES}
    expected = {numbers[column]: seccomp.ERRNO | code for numbers, code in whole.items()}
    depending = (seccomp.CLONE, seccomp.UNSHARE, seccomp.PERSONALITY, seccomp.IOCTL, seccomp.PRLIMIT64)
    looked_at = {numbers[column] for numbers in (*depending, seccomp.SOCKETPAIR)}
    allow = seccomp.ALLOW[0][3]
    for call in set(range(seccomp.LAST_KNOWN + 1)) - looked_at:
        assert verdict(call) == expected.get(call, allow), call
    assert verdict(seccomp.CLONE[column], 17) == allow
    assert verdict(seccomp.CLONE[column], 17 | 1 << 28) == seccomp.ERRNO | errno.EPERM
    assert verdict(seccomp.SOCKETPAIR[column], 1, 1) == allow
    assert verdict(seccomp.SOCKETPAIR[column], 2, 1) == seccomp.ERRNO | errno.EACCES
    for other in {0x40000003, *seccomp.ARCHITECTURES.values()} - {seccomp.ARCHITECTURES[machine]}:
        assert result(program, other, 0) == seccomp.KILL_PROCESS


def result(program: seccomp.Code, architecture: int, call: int, *arguments: int) -> int:
    """What the kernel would make of the program; the numbers are those of linux/bpf_common.h."""
    data = {0: call, 4: architecture} | {16 + 8 * i: value for i, value in enumerate(arguments)}
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == 0x06:
            return constant
        if code == 0x20:
            loaded = data[constant]
        else:
            jump = {0x15: loaded == constant, 0x35: loaded >= constant, 0x45: bool(loaded & constant)}[code]
            at += if_true if jump else if_false
