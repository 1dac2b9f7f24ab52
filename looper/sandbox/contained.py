"""The first program of a worker's container: its process 1, which forks the worker.

It connects to the launcher outside, and gets from there what a worker is made of. When the launcher lets go of the
connection, and so when it dies, process 1 ends, and the kernel ends everything in the container with it: nobody has
to ask a container runtime for that. Signals from inside do not reach process 1, and none of its memory and descriptors
are the worker's to read, although both are the same user.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from typing import Any, NoReturn

from looper.sandbox import linux
from looper.sandbox.fresh import HOME, TARGET, WORK
from looper.sandbox.launcher import Ends, Folders, become_worker, close_log, say
from looper.sandbox.protocol import Level

DOOR = f"{HOME}/door"  # a folder of the launcher's, with SOCKET in it until this program has connected
SOCKET = "socket"
MAX_MESSAGE = 1 << 18  # bytes


def main() -> NoReturn:
    """Fork the worker, reap what it orphans, tell how it ended."""
    outside = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    outside.connect(f"{DOOR}/{SOCKET}")
    message, fds, _, _ = socket.recv_fds(outside, MAX_MESSAGE, 2)
    if not message:
        os._exit(1)
    channel, log = fds
    for standard in (1, 2):
        os.dup2(log, standard)
    linux.replace_fds(os.O_RDONLY, 0)
    linux.close_all_but({channel, outside.fileno()})
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")  # when memory runs out, the worker goes before anything of the user's
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    worker = os.fork()
    if worker == 0:
        start_worker(json.loads(message), channel, outside.fileno())
    os.close(channel)
    close_log()
    watcher = threading.Thread(target=end_with, args=(outside,))
    watcher.start()
    while True:
        pid, status = os.wait()
        if pid == worker:
            say(outside.fileno(), code=os.waitstatus_to_exitcode(status))
            watcher.join()  # the launcher has yet to look at the container's accounts


def start_worker(spec: dict[str, Any], channel: int, outside: int) -> NoReturn:
    """Be the worker. ``spec``: the order that the launcher had."""
    folders = Folders(WORK, TARGET, None)
    try:
        become_worker(spec, Level(spec["level"]), folders, spec["layers"], 1, Ends(channel, 1, outside, -1))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(70)


def end_with(outside: socket.socket) -> NoReturn:
    """End the container when the launcher is gone, which sends nothing more."""
    outside.recv(1)
    os._exit(1)
