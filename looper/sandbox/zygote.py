"""The process that workers are forked from: confined as they are, warm, and never shown a candidate.

One a session. It enters the backend's view of the system first, and only then imports what workers need, torch
perhaps, so that no experiment pays for it again. It runs no code but installed packages', touches no GPU and starts no
thread. Each order makes it fork a launcher, and nothing ever comes back from there to this process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from looper.sandbox import linux
from looper.sandbox.backends import BACKENDS
from looper.sandbox.launcher import Ends
from looper.sandbox.proctree import children_of
from looper.sandbox.protocol import Level
from looper.sandbox.view import gpu_nodes, reachable, view_of

MAX_ORDER = 1 << 17  # bytes
MAX_FDS = 8
LOOK_EVERY_MS = 500


def main(orders: int, backend: str, preload: Sequence[str], gpu: bool) -> NoReturn:
    """Confine this process, import, and serve orders until nobody can send any more.

    An order is a worker's specification, with its descriptors as :class:`looper.sandbox.launcher.Ends` lists them.

    Args:
        orders: a SOCK_SEQPACKET socket.
        backend: name of the isolation backend.
        preload: modules to import beforehand.
        gpu: whether workers may be given GPUs.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sys.pycache_prefix = None  # the environment's own compiled files: what workers run is not trusted anyway
    sys.dont_write_bytecode = True
    linux.adopt_orphans()
    sock = socket.socket(fileno=orders)
    try:
        common = confine(backend, gpu)
    except Exception as error:
        refuse(sock, str(error))
    preload_modules(preload)
    serve(sock, common)


def preload_modules(names: Sequence[str]) -> None:
    """Import them, for all forks at once. What cannot be imported is left for whoever needs it to fail with."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is there stays as it is, in memory that the forks share


def confine(name: str, gpu: bool) -> dict[str, Any]:
    """Enter the backend's view. Returns what every order is given besides its own."""
    backend = BACKENDS[name]
    view = view_of(gpu)
    with contextlib.suppress(OSError):
        os.chdir("/")
    layers = backend.enter(view)
    return {
        "backend": name,
        "level": int(backend.level),
        "layers": layers,
        "shown": list(view.shown),
        "own_user": backend.level >= Level.NAMESPACES or (backend.level == Level.LANDLOCK and reachable(view)),
    }


def serve(sock: socket.socket, common: dict[str, Any]) -> NoReturn:
    """Fork a launcher for each order."""
    launchers: set[int] = set()
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    open_for_orders = True
    while open_for_orders or launchers:
        if poller.poll(LOOK_EVERY_MS) and open_for_orders:
            message, fds, _, _ = socket.recv_fds(sock, MAX_ORDER, MAX_FDS)
            if message:
                launchers.add(fork_launcher(json.loads(message), common, fds))
            else:
                open_for_orders = False
                poller.unregister(sock)
        launchers -= reaped()
        for orphan in set(children_of(os.getpid())) - launchers:  # its launcher was killed
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
    os._exit(0)


def fork_launcher(order: dict[str, Any], common: dict[str, Any], fds: list[int]) -> int:
    """Fork the launcher of one worker; its descriptors stay with it."""
    launcher = os.fork()
    if launcher == 0:
        channel, log, control, files, *groups = fds
        try:
            start = BACKENDS[common["backend"]].launch
            start(completed(order, common), Ends(channel, log, control, files, tuple(groups)))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)
    for fd in fds:
        os.close(fd)
    return launcher


def completed(order: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """The order with what the zygote knows."""
    covered = [node for node in gpu_nodes() if node not in order["devices"] and os.path.exists(node)]
    return {**order, **common, "uid": None, "covered": covered}


def reaped() -> set[int]:
    """The children that have ended since."""
    found: set[int] = set()
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            found.add(pid)
    return found


def refuse(sock: socket.socket, why: str) -> NoReturn:
    """Answer every order with the reason why there is no worker."""
    while True:
        message, fds, _, _ = socket.recv_fds(sock, MAX_ORDER, MAX_FDS)
        if not message:
            os._exit(1)
        with contextlib.suppress(OSError):
            os.write(fds[1], f"{why}\n".encode())
        for fd in fds:
            os.close(fd)
