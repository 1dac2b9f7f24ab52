"""Forks launchers for an evaluator, from a process that was never told the job.

The keeper is the evaluator's parent: both come from the same clean process, and then only the evaluator reads
its job. So a worker, forked below the keeper, starts with everything imported and nothing to find out.

The keeper also ends the evaluator, and every worker with it, when the evaluator ends or looper lets go of the
lifeline, which a dead looper does too. It exits only when nothing is left below it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Callable
from typing import Any

from looper.sandbox.launcher import adopt_orphans, kill_all_below, launch

MAX_ORDER = 1 << 17  # bytes
LOOK_EVERY_MS = 500  # in case something holds on to a dead evaluator's descriptors


class Keeper:
    """The evaluator's side. ``orders`` is its end of the socket that :func:`keep` listens on."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders

    def launch(self, order: dict[str, Any], fds: list[int]) -> Callable[[], object]:
        """Have a launcher forked; see :func:`keep`."""
        socket.send_fds(self._orders, [json.dumps(order).encode()], fds)
        return lambda: None  # the keeper reaps it


def keep(evaluator: int, orders: socket.socket, lifeline: int) -> int:
    """Serve orders until the evaluator ends or looper lets go; then end everything.

    Args:
        evaluator: process number of the evaluator, a child of this process.
        orders: each message is a worker's specification, with four descriptors: the worker's end of its
            channel, the write end of its log, the launcher's end of its control, and the other end of that.
        lifeline: read end of a pipe whose other end looper alone holds.

    Returns:
        The evaluator's exit status, negative for a signal.
    """
    adopt_orphans()
    poller = select.poll()
    poller.register(lifeline, 0)  # only its end matters: what comes through it is for the evaluator
    poller.register(orders, select.POLLIN)
    launchers: dict[int, int] = {}  # control -> process number
    while True:
        ready = {fd for fd, _ in poller.poll(LOOK_EVERY_MS)}
        if lifeline in ready or os.waitid(os.P_PID, evaluator, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        for control in ready & launchers.keys():
            poller.unregister(control)
            os.close(control)
            os.waitpid(launchers.pop(control), 0)
        if orders.fileno() in ready:
            message, fds, _, _ = socket.recv_fds(orders, MAX_ORDER, 4)
            if not message:
                break
            channel, log, theirs, ours = fds
            launcher = os.fork()
            if launcher == 0:
                try:
                    launch(json.loads(message), channel, log, theirs)
                finally:
                    os._exit(70)
            for fd in (channel, log, theirs):
                os.close(fd)
            launchers[ours] = launcher
            poller.register(ours, 0)
    return _end(evaluator, launchers)


def _end(evaluator: int, launchers: dict[int, int]) -> int:
    with contextlib.suppress(ProcessLookupError):
        os.kill(evaluator, signal.SIGKILL)
    _, status = os.waitpid(evaluator, 0)
    for control, launcher in launchers.items():
        with socket.socket(fileno=control) as ours, contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)
        os.waitpid(launcher, 0)
    kill_all_below()  # programs that evaluate.py itself started
    return os.waitstatus_to_exitcode(status)
