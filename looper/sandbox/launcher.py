"""Makes a worker, waits for it, and ends all of it.

Three processes, each forked from the one before: this *launcher*; *init*, which is process 1 of a new PID
namespace where the system allows one, and reaps what the worker orphans; and the *worker*.

Whoever ordered the worker holds the other end of ``control``. It is told there what was set up and how the
worker ended; the launcher exits only when nothing is left below it. The tree is ended when that end is shut
down or gone, so it cannot outlive the evaluator, nor looper, however they die.

What is covered: in a PID namespace the kernel ends every process of it together, else the launcher adopts
orphans (subreaper) and kills until none is left.
What is not covered: files, network and memory are those of the user; without a PID namespace, a worker that
runs as the same user can kill the launcher, and what it forked then lives until the evaluator's keeper ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Collection
from typing import Any, NoReturn

from looper.sandbox.proctree import children_of

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
CAPABILITIES_V3 = 0x20080522
REAP_EVERY_MS = 200

libc = ctypes.CDLL(None, use_errno=True)


def launch(spec: dict[str, Any], channel: int, log: int, control: int) -> NoReturn:
    """Be the launcher of one worker.

    Args:
        spec: what :class:`looper.sandbox.protocol.Spec` says, as plain values.
        channel: the worker's end of its channel.
        log: write end of the pipe for the worker's stdout and stderr.
        control: a SOCK_SEQPACKET socket; nobody below init holds it.
    """
    os.setsid()
    for standard in (1, 2):
        os.dup2(log, standard)
    close_stdin()
    close_all_but({channel, control})
    namespace = new_pid_namespace()
    if not namespace:
        adopt_orphans()
    launcher = os.getpid()
    init_ended, alive = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(init_ended)
        run_init(spec, launcher, namespace, channel, control, alive)
    os.close(alive)
    os.close(channel)
    close_log()
    wait_for(control, init_ended)
    end_tree(init)


def wait_for(*fds: int) -> None:
    """Return once one of the descriptors has come to its end; meanwhile reap adopted orphans."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    while not poller.poll(REAP_EVERY_MS):
        with contextlib.suppress(ChildProcessError):
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                pass


def end_tree(init: int) -> NoReturn:
    """End init, and with it everything below this process, and exit."""
    if init in children_of(os.getpid()):
        os.kill(init, signal.SIGKILL)
        os.waitpid(init, 0)  # in a PID namespace nothing is left after this
    kill_all_below()
    os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent dies."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_all_below() -> None:
    """Kill the children of this process, who adopts orphans, until none is left."""
    while True:
        for child in children_of(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def run_init(spec: dict[str, Any], launcher: int, namespace: bool, channel: int, control: int, alive: int) -> NoReturn:
    """Start the worker, reap orphans, and tell how the worker ended."""
    # In a new PID namespace the parent is outside and getppid() is 0.
    die_with_parent(0 if namespace else launcher)
    layers = ["pid-namespace" if namespace else "subreaper"]
    if namespace and mount_own_proc():
        layers.append("own-proc")
    say(control, launcher=launcher, layers=layers)
    init = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.close(control)
        os.close(alive)
        try:
            die_with_parent(init)
            become_worker(spec, channel)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)
    os.close(channel)
    close_log()
    while True:
        pid, status = os.wait()
        if pid == worker:
            say(control, code=os.waitstatus_to_exitcode(status))
            os._exit(0)


def become_worker(spec: dict[str, Any], channel: int) -> NoReturn:
    """Limits, environment, working folder; then the worker's own code, in this very process."""
    os.setsid()
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.geteuid() != 0:
        drop_capabilities()
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
    sys.argv = [spec["main"]]
    sys.dont_write_bytecode = True
    importlib.import_module(spec["main"]).main(channel)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


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


def mount_own_proc() -> bool:
    """A /proc that shows the PID namespace's own processes; False where the system refuses.

    Without it, a program that looks itself up under its process number finds some other process.
    """
    if libc.unshare(CLONE_NEWNS) != 0:
        return False
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return False
    return bool(libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None) == 0)


def drop_capabilities() -> None:
    """Give up what a new user namespace grants in itself: the worker has the user's own rights, no more."""
    libc.capset((ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)())


def die_with_parent(parent: int, sig: int = signal.SIGKILL) -> None:
    """Ask the kernel for ``sig`` when the parent dies; exit now if it is dead already."""
    libc.prctl(PR_SET_PDEATHSIG, sig, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def say(control: int, **fields: Any) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(control, json.dumps(fields).encode())


def close_stdin() -> None:
    _replace(os.O_RDONLY, 0)


def close_log() -> None:
    """Let go of the worker's log, so that its reader sees the end of it when the worker is gone."""
    _replace(os.O_WRONLY, 1, 2)


def _replace(mode: int, *fds: int) -> None:
    null = os.open(os.devnull, mode)
    for fd in fds:
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def close_all_but(kept: Collection[int]) -> None:
    """Close every descriptor but 0, 1, 2 and these."""
    for name in os.listdir("/proc/self/fd"):
        if (fd := int(name)) > 2 and fd not in kept:
            with contextlib.suppress(OSError):  # the one that listed the folder
                os.close(fd)


def main() -> None:
    """For a launcher that is a program of its own: the order and its three descriptors are the arguments."""
    spec, channel, log, control = sys.argv[1:]
    launch(json.loads(spec), int(channel), int(log), int(control))
