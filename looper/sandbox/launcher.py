"""Makes a worker, waits for it, and ends all of it.

Three processes, each forked from the one before: this *launcher*, forked from the zygote; *init*, which is process 1
of a new PID namespace where the system allows one, and reaps what the worker orphans; and the *worker*.

Whoever ordered the worker holds the other end of ``control``. It is told there what was set up and how the
worker ended; the launcher exits only when nothing is left below it. The tree is ended when that end is shut
down or gone, so it cannot outlive the evaluator, nor looper, however they die.

What is covered: in a PID namespace the kernel ends every process of it together, else the launcher adopts
orphans (subreaper) and kills until none is left.
What is not covered: without a PID namespace, a worker that runs as the same user can kill the launcher; what it forked
is then ended by the zygote, within half a second.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from looper.sandbox import fresh, linux
from looper.sandbox.lockdown import lock_down
from looper.sandbox.proctree import children_of
from looper.sandbox.protocol import WORK_IN_ENV, Level
from looper.sandbox.removal import remove
from looper.sandbox.users import spare_user

REAP_EVERY_MS = 200


class Ends(NamedTuple):
    """Descriptors of one worker.

    Args:
        channel: the worker's end of its channel.
        log: write end of the pipe for the worker's stdout and stderr.
        control: a SOCK_SEQPACKET socket; the worker lets go of it before any code of others runs.
        files: a memory file with the worker's files; see :func:`packed`.
        groups: files of control groups, to join them by writing 0.
    """

    channel: int
    log: int
    control: int
    files: int
    groups: tuple[int, ...] = ()


class Folders(NamedTuple):
    """Where the worker works, where its files are, and the host's folder that holds both, if one does."""

    work: str
    target: str
    on_host: str | None


def launch(spec: dict[str, Any], ends: Ends) -> NoReturn:
    """Be the launcher of one worker. ``spec``: what :class:`looper.sandbox.protocol.Spec` says, as plain values, and
    what the zygote adds."""
    os.setsid()
    for standard in (1, 2):
        os.dup2(ends.log, standard)
    linux.replace_fds(os.O_RDONLY, 0)
    linux.close_all_but({ends.channel, ends.control, ends.files, *ends.groups})
    level = Level(spec["level"])
    files = unpacked(ends.files)
    spare = spare_user(os.getpid())
    spec["uid"] = spare if spec["own_user"] else None
    folders = make_folders(spec, level, files)
    namespace = new_pid_namespace(level, with_users=spare is None)
    if not namespace:
        linux.adopt_orphans()
    launcher = os.getpid()
    init_ended, alive = os.pipe()
    init = os.fork()
    if init == 0:
        try:
            os.close(init_ended)
            run_init(spec, level, files, folders, launcher, namespace, ends, alive)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)
    for fd in (alive, ends.channel, ends.files, *ends.groups):
        os.close(fd)
    close_log()
    wait_for(ends.control, init_ended)
    end_tree(init, folders)


def make_folders(spec: dict[str, Any], level: Level, files: dict[str, bytes]) -> Folders:
    """Folders on the host, for a worker that has no file system of its own."""
    if level >= Level.NAMESPACES:
        return Folders(fresh.WORK, fresh.TARGET, None)
    uid = spec["uid"]
    on_host = tempfile.mkdtemp(prefix="looper-worker-", dir=spec["scratch"] if uid is None else None)
    folders = Folders(f"{on_host}/work", f"{on_host}/target", on_host)
    for name, data in files.items():
        path = f"{folders.target}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
    os.makedirs(folders.target, exist_ok=True)
    os.mkdir(folders.work)
    if uid is not None:
        os.chmod(on_host, 0o711)
        os.chown(folders.work, uid, uid)
    return folders


def wait_for(*fds: int) -> None:
    """Return once one of the descriptors has come to its end; meanwhile reap adopted orphans."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    while not poller.poll(REAP_EVERY_MS):
        with contextlib.suppress(ChildProcessError):
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                pass


def end_tree(init: int, folders: Folders) -> NoReturn:
    """End init, and with it everything below this process, and exit."""
    if init in children_of(os.getpid()):
        os.kill(init, signal.SIGKILL)
        os.waitpid(init, 0)  # in a PID namespace nothing is left after this
    kill_all_below()
    if folders.on_host:
        with contextlib.suppress(OSError):
            remove(Path(folders.on_host))
    os._exit(0)


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


def run_init(
    spec: dict[str, Any],
    level: Level,
    files: dict[str, bytes],
    folders: Folders,
    launcher: int,
    namespace: bool,
    ends: Ends,
    alive: int,
) -> NoReturn:
    """Make what the worker gets anew, start it, reap orphans, and tell how it ended."""
    # In a new PID namespace the parent is outside and getppid() is 0.
    linux.die_with_parent(0 if namespace else launcher)
    for group in ends.groups:
        os.write(group, b"0")
        os.close(group)
    layers = ["pid-namespace" if namespace else "subreaper", *spec["layers"]]
    if level >= Level.NAMESPACES:
        uid = os.geteuid() if spec["uid"] is None else spec["uid"]
        size = fresh.Size(spec["limits"]["disk_mb"], spec["limits"]["inodes"])
        layers += fresh.enter(files, spec["hidden"], spec["covered"], spec["shown"], uid, size)
    elif namespace and fresh.own_proc_alone():
        layers.append("own-proc")
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")  # when memory runs out, the worker goes before anything of the user's
    linux.prctl(linux.PR_SET_DUMPABLE, 0)  # nothing of init is for the worker to read
    init = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.close(alive)
        try:
            linux.die_with_parent(init)
            become_worker(spec, level, folders, layers, launcher, ends)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)
    os.close(ends.channel)
    close_log()
    while True:
        pid, status = os.wait()
        if pid == worker:
            say(ends.control, code=os.waitstatus_to_exitcode(status))
            os._exit(0)


def become_worker(
    spec: dict[str, Any], level: Level, folders: Folders, layers: list[str], launcher: int, ends: Ends
) -> NoReturn:
    """Lock the door from inside, tell of it, and only then run the worker's own code, in this very process."""
    os.setsid()
    layers += lock_down(spec, level, folders.work, folders.target)
    say(ends.control, launcher=launcher, layers=layers)
    linux.close_all_but({ends.channel})
    os.environ.clear()
    os.environ.update({name: value.replace(WORK_IN_ENV, folders.work) for name, value in spec["env"].items()})
    sys.argv = [spec["main"]]
    sys.dont_write_bytecode = True
    importlib.import_module(spec["main"]).main(ends.channel, folders.target)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def new_pid_namespace(level: Level, with_users: bool) -> bool:
    """Give this process's children a PID namespace; False where the system refuses.

    ``with_users``: and a user namespace, by which the processes are counted of a worker who cannot be another user.

    Raises:
        OSError: when it is refused to a worker that has to have one.
    """
    uid, gid = os.geteuid(), os.getegid()
    with contextlib.suppress(OSError):
        linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWUSER if with_users else linux.CLONE_NEWPID)
        if with_users:
            linux.map_user(uid, gid)
        return True
    try:  # no new user namespace, as some systems have it, but the zygote has rights in the one it is in
        linux.unshare(linux.CLONE_NEWPID)
    except OSError:
        if level >= Level.NAMESPACES:
            raise
        return False
    return True


def packed(files: Mapping[str, bytes]) -> int:
    """A memory file that holds these files; the caller closes it."""
    fd = os.memfd_create("files")
    sizes = json.dumps({name: len(data) for name, data in files.items()}).encode()
    with open(os.dup(fd), "wb") as f:
        f.write(sizes + b"\n")
        for data in files.values():
            f.write(data)
    return fd


def unpacked(fd: int) -> dict[str, bytes]:
    """What :func:`packed` put there."""
    with open(os.dup(fd), "rb") as f:
        f.seek(0)
        sizes = json.loads(f.readline())
        return {name: f.read(size) for name, size in sizes.items()}


def say(control: int, **fields: Any) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(control, json.dumps(fields).encode())


def close_log() -> None:
    """Let go of the worker's log, so that its reader sees the end of it when the worker is gone."""
    linux.replace_fds(os.O_WRONLY, 1, 2)
