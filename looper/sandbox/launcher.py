"""Runs between the evaluator and a worker: makes the worker, waits for it, and ends all of it.

Executed as a script by ``python -I -S`` so that it starts in a few milliseconds; standard library only.
Three processes: this *launcher*; below it *init*, which is process 1 of a new PID namespace where the
system allows one and adopts whatever the worker orphans; below that the *worker*.

Descriptors: 0 nothing, 1 and 2 the worker's log, and two whose numbers the order names: the worker's
channel and this launcher's status line, which nobody below init holds.

What is covered: the death of the evaluator or of looper ends the tree (parent-death signal), and so
does SIGTERM; in a PID namespace the kernel ends every process of it together, else the launcher
adopts orphans (subreaper) and kills until none is left.
What is not covered: files, network and memory are those of the user; without a PID namespace, a worker
that runs as the same user can kill the launcher.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000

libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, sig: int) -> None:
    """Ask the kernel for ``sig`` when the parent dies; exit now if it is dead already."""
    libc.prctl(PR_SET_PDEATHSIG, sig, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def new_pid_namespace() -> bool:
    """Give this process's children a PID namespace; False where the system refuses."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and libc.unshare(CLONE_NEWPID) == 0:
        return True
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0:
        return False
    with contextlib.suppress(OSError):  # unmapped, it would merely appear as nobody
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as f:
                f.write(text)
    return True


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]
    return []


def say(status: int, **fields: Any) -> None:
    with contextlib.suppress(OSError):
        os.write(status, json.dumps(fields).encode() + b"\n")


def close_worker_streams(spec: dict[str, Any]) -> None:
    """Let go of the worker's log and channel, so that their other ends see it when the worker is gone."""
    for fd in (0, 1, 2, spec["channel"]):
        os.close(fd)


def become_worker(spec: dict[str, Any]) -> NoReturn:
    """Limits, environment, working folder; then the worker's own code, in this very process."""
    os.setsid()
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limits = spec["limits"]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = limits["open_files"] if hard == resource.RLIM_INFINITY else min(limits["open_files"], hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_mb"] << 20,) * 2)
    if spec["cores"]:
        os.sched_setaffinity(0, spec["cores"])
    os.environ.clear()
    os.environ.update(spec["env"])
    os.chdir(spec["cwd"])
    # Only now may site-packages and their .pth files be read: -S kept them out of the launcher.
    if sys.flags.no_site:
        importlib.import_module("site").main()
    importlib.import_module(spec["main"]).main(spec["channel"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def run_init(launcher: int, spec: dict[str, Any]) -> NoReturn:
    """Start the worker, adopt and reap orphans, and report how the worker ended."""
    # In a new PID namespace the parent is outside and getppid() is 0.
    die_with_parent(launcher if os.getpid() != 1 else 0, signal.SIGKILL)
    worker = os.fork()
    if worker == 0:
        os.close(spec["status"])
        try:
            become_worker(spec)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)
    close_worker_streams(spec)
    while True:
        pid, status = os.wait()
        if pid == worker:
            say(spec["status"], code=os.waitstatus_to_exitcode(status))
            os._exit(0)


def end_tree(init: int) -> NoReturn:
    """Kill everything below this launcher, wait for it, and exit."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(ProcessLookupError):
        os.kill(init, signal.SIGKILL)
    while True:  # in a PID namespace one round does it; as a subreaper, until no orphan is left
        for child in children_of(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            os._exit(0)


def main() -> None:
    spec = json.loads(sys.argv[1])
    init = 0
    signal.signal(signal.SIGTERM, lambda *_: end_tree(init) if init else os._exit(0))
    die_with_parent(spec["parent"], signal.SIGTERM)
    namespace = new_pid_namespace()
    if not namespace:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    launcher = os.getpid()
    init = os.fork()
    if init == 0:
        run_init(launcher, spec)
    close_worker_streams(spec)
    say(spec["status"], layers=["pid-namespace" if namespace else "subreaper"])
    while os.wait()[0] != init:
        pass  # an orphan that the subreaper adopted
    end_tree(init)


if __name__ == "__main__":
    main()
