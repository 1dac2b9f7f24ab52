"""Workers in containers, one each, made by podman or docker; for those who ask for it.

A container cannot be forked from a warm process: each worker is a new program that has imported nothing yet, and its
start costs the runtime's time as well, a third of a second at the least.

What is covered: what namespaces cover, and the runtime's own filter of system calls, its limits of memory and
processes, and its rules for devices. The image is empty but for links; everything else in the container is this
Python environment and the system's programs, read-only, at their places. A container ends with its launcher,
however that dies; see ``contained.py``. What a dead launcher left of it on the disk and in the
runtime's books is removed at the next session's start.
What is not covered: the runtime itself, which works with more rights than looper where it is docker; the kernel and its
drivers are shared. For an ordinary user, podman cannot limit how many files there are, though their memory counts as
the worker's, and with cgroup v1 it limits nothing: memory is then looked at from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from looper.sandbox import linux, runtime
from looper.sandbox.cgroup import V1, V2, Cgroup, Parent
from looper.sandbox.contained import MAX_MESSAGE, SOCKET
from looper.sandbox.launcher import Ends, close_log, kill_all_below, say, unpacked
from looper.sandbox.runtime import WRITABLE
from looper.sandbox.signed import is_abandoned, signed_name
from looper.sandbox.view import View

START_S = 60.0
LOOK_EVERY_MS = 50
END_S = 10.0  # for the runtime to notice that a container ended
LAYERS = ("pid-namespace", "mount-namespace", "network-namespace", "ipc-namespace", "own-proc", "own-user")


def enter(view: View) -> list[str]:
    """Find a runtime that works and make ready for it. Returns its name and the layers that every container has.

    Raises:
        OSError: when there is none; with the words of those that were tried.
    """
    remove_abandoned()
    faults = []
    for name in filter(runtime.program, runtime.NAMES):
        try:
            runtime.prepare(name)
        except OSError as error:
            faults.append(f"{name}: {error}")
        else:
            return [name, *LAYERS]
    raise OSError("; ".join(faults) or "neither podman nor docker is installed")


def remove_abandoned() -> None:
    """Folders of launchers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob("looper-*"):
        if is_abandoned(folder.name.rpartition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)


class Container(NamedTuple):
    """The runtime that makes it, and its name there."""

    runtime: str
    name: str


class Inside(NamedTuple):
    """The connection to process 1 of a container, its number out here, and a descriptor for it."""

    socket: socket.socket
    init: int
    pidfd: int


def launch(spec: dict[str, Any], ends: Ends) -> NoReturn:
    """Be the launcher of one worker, as :func:`looper.sandbox.launcher.launch` is without a container.

    Raises:
        OSError: when the runtime refuses, with its own words.
    """
    os.setsid()
    for standard in (1, 2):
        os.dup2(ends.log, standard)
    linux.replace_fds(os.O_RDONLY, 0)
    linux.close_all_but({ends.channel, ends.control, ends.files})
    linux.adopt_orphans()  # what podman leaves beside a container
    os.umask(0o022)  # the worker, another user, reads its files
    container = Container(spec["layers"][0], signed_name())
    inside = None
    with folder_of(container, spec["limits"], unpacked(ends.files)) as folder, door(folder) as listener:
        command = runtime.command(container.runtime, "run", *runtime.arguments(*container, spec, folder))
        words = open(f"{folder}/words", "w+b")
        env = runtime.environment()
        client = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=env)
        try:
            inside = connected(listener, client, words, ends.control)
            attend(inside, spec, ends)
        finally:
            end(inside, client, container)
    os._exit(0)


def door(folder: str) -> socket.socket:
    """Where process 1 of the container will connect."""
    os.mkdir(f"{folder}/door")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{folder}/door/{SOCKET}")
    os.chmod(f"{folder}/door/{SOCKET}", 0o666)  # nobody but the container gets at it: the folder is closed
    listener.listen(1)
    return listener


@contextlib.contextmanager
def folder_of(container: Container, limits: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterator[str]:
    """The worker's files, and what to put over that which it must not see; gone in the end."""
    with tempfile.TemporaryDirectory(prefix=f"{container.name}-") as folder:
        for name, data in files.items():
            path = Path(folder, "target", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        os.makedirs(f"{folder}/target", exist_ok=True)
        os.mkdir(f"{folder}/empty", 0o700)
        os.close(os.open(f"{folder}/nothing", os.O_CREAT, 0o600))
        with disk(folder, limits) if container.runtime == "podman" and os.geteuid() == 0 else contextlib.nullcontext():
            yield folder


@contextlib.contextmanager
def disk(folder: str, limits: Mapping[str, Any]) -> Iterator[None]:
    """Memory to write to, with a limit of files, for which podman has no option. Others do not see it."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    os.mkdir(f"{folder}/disk")
    data = f"mode=755,size={limits['disk_mb']}m,nr_inodes={limits['inodes']}"
    linux.mount("tmpfs", f"{folder}/disk", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, data)
    for place in WRITABLE:
        os.makedirs(f"{folder}/disk{place}")
        os.chmod(f"{folder}/disk{place}", 0o1777)
    try:
        yield
    finally:
        linux.detach(f"{folder}/disk")


def connected(listener: socket.socket, client: subprocess.Popen[bytes], words: IO[bytes], control: int) -> Inside:
    """Wait for process 1.

    Raises:
        OSError: when it does not come.
    """
    deadline = time.monotonic() + START_S
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    poller.register(control, select.POLLIN)
    while not (ready := {fd for fd, _ in poller.poll(50)}):
        if client.poll() is not None or time.monotonic() > deadline:
            words.seek(0)
            raise OSError(runtime.last_line(words.read()) or "the container did not start")
    if control in ready:
        raise OSError("nobody waits for the worker any more")
    inside, _ = listener.accept()
    listener.close()
    init, _, _ = struct.unpack("3i", inside.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if not init:
        raise OSError("the container runtime runs where its processes cannot be seen from here")
    return Inside(inside, init, os.pidfd_open(init))


def attend(inside: Inside, spec: Mapping[str, Any], ends: Ends) -> None:
    """Have the worker started, and pass on what process 1 tells, until it ends or nobody wants the worker any more."""
    group = group_of(inside.init, spec["limits"]["memory_mb"])
    layers = [*spec["layers"], *([f"cgroup-v{group.version}"] if group else [])]
    order = {**spec, "layers": layers, "memfds": spec["memfds"] or group is not None}
    socket.send_fds(inside.socket, [json.dumps(order).encode()], [ends.channel, 1])
    os.close(ends.channel)
    os.close(ends.files)
    close_log()
    while told := heard(inside.socket, ends.control, group):
        if "layers" in told:
            # the runtime's own process above process 1 stands where a launcher does
            told["launcher"] = parent_of(inside.init)
        else:
            told["oom_kills"] = oom_kills(group)
        say(ends.control, **told)
        if "code" in told:
            return


def heard(inside: socket.socket, control: int, group: Cgroup | None) -> dict[str, Any] | None:
    """What process 1 tells next; None when it is gone, or when nobody holds the other end of ``control``.

    A worker that the kernel has taken a process from, for want of memory, has ended: none of it goes on.
    """
    poller = select.poll()
    poller.register(inside, select.POLLIN)
    poller.register(control, select.POLLIN)
    while not (ready := {fd for fd, _ in poller.poll(LOOK_EVERY_MS)}) and not oom_kills(group):
        pass
    if control in ready:
        return None
    if message := inside.recv(MAX_MESSAGE) if ready else b"":
        return dict(json.loads(message))
    return {"code": -signal.SIGKILL} if oom_kills(group) else None


def oom_kills(group: Cgroup | None) -> int:
    """How many processes the kernel has ended because memory ran out; 0 when it is not known."""
    with contextlib.suppress(OSError):
        return group.oom_kills() if group else 0
    return 0


def group_of(init: int, memory_mb: int | None) -> Cgroup | None:
    """The control group of a container, if it holds this limit."""
    for line in Path(f"/proc/{init}/cgroup").read_text().splitlines():
        _, controller, path = line.split(":", 2)
        names, root = (V2, "/sys/fs/cgroup") if controller == "" else (V1, f"/sys/fs/cgroup/{controller}")
        folder = Path(root + path)
        limit = folder / f"memory.{names.limit}"
        if memory_mb is not None and limit.exists() and limit.read_text().strip() == str(memory_mb << 20):
            return Cgroup(Parent(names, folder.parent, folder.parent), folder.name)
    return None


def parent_of(pid: int) -> int:
    """Field 4 of proc_pid_stat(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def end(inside: Inside | None, client: subprocess.Popen[bytes], container: Container) -> None:
    """End the container. When this returns nothing of it is left."""
    if inside:
        inside.socket.close()  # process 1 ends of it; where it is ours to kill, it does not have to do it by itself
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(inside.pidfd, signal.SIGKILL)
    elif client.poll() is None:  # what is not there yet finds nobody to connect to, and ends
        runtime.strike(*container)
    try:
        client.wait(END_S)
    except subprocess.TimeoutExpired:
        runtime.strike(*container)
        client.kill()
    deadline = time.monotonic() + END_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:  # podman's cleaning up
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.01)
    kill_all_below()
