"""Ends an evaluator and its workers, and passes on its orders for workers to the zygote.

The keeper is the evaluator's parent: both come from the same clean process, and then only the evaluator reads its job.

It ends the evaluator, and every worker with it, when the evaluator ends or looper lets go of the lifeline, which a
dead looper does too. It exits only when nothing is left below it, nor below the evaluator's launchers.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from typing import Any

from looper.sandbox import cgroup
from looper.sandbox.launcher import kill_all_below
from looper.sandbox.linux import adopt_orphans
from looper.sandbox.zygote import MAX_FDS, MAX_ORDER

LOOK_EVERY_MS = 500  # in case something holds on to a dead evaluator's descriptors


class Keeper:
    """The evaluator's side. ``orders`` is its end of the socket that :func:`keep` listens on."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders

    def launch(self, order: dict[str, Any], other_end: int, fds: list[int]) -> None:
        """Have a launcher forked; see :data:`looper.sandbox.confined.Launch`."""
        socket.send_fds(self._orders, [json.dumps(order).encode()], [other_end, *fds])


def keep(evaluator: int, orders: socket.socket, zygote: socket.socket, lifeline: int) -> int:
    """Pass on orders until the evaluator ends or looper lets go; then end everything.

    Args:
        evaluator: process number of the evaluator, a child of this process.
        orders: each message is a worker's specification, with descriptors: the other end of its launcher's control,
            then those for the zygote.
        zygote: where orders go.
        lifeline: read end of a pipe whose other end looper alone holds.

    Returns:
        The evaluator's exit status, negative for a signal.
    """
    adopt_orphans()
    poller = select.poll()
    poller.register(lifeline, 0)  # only its end matters: what comes through it is for the evaluator
    poller.register(orders, select.POLLIN)
    controls: set[int] = set()
    while True:
        ready = {fd for fd, _ in poller.poll(LOOK_EVERY_MS)}
        if lifeline in ready or os.waitid(os.P_PID, evaluator, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        for control in ready & controls:  # its launcher is gone, and so is everything below it
            poller.unregister(control)
            os.close(control)
            controls.remove(control)
        if orders.fileno() in ready:
            message, fds, _, _ = socket.recv_fds(orders, MAX_ORDER, MAX_FDS + 1)
            if not message:
                break
            control = fds.pop(0)
            controls.add(control)
            poller.register(control, 0)
            with contextlib.suppress(OSError):  # no zygote: the evaluator sees that nobody holds the other ends
                socket.send_fds(zygote, [message], fds)
            for fd in fds:
                os.close(fd)
    return _end(evaluator, controls)


def _end(evaluator: int, controls: set[int]) -> int:
    with contextlib.suppress(ProcessLookupError):
        os.kill(evaluator, signal.SIGKILL)
    _, status = os.waitpid(evaluator, 0)
    for control in controls:
        with socket.socket(fileno=control) as ours, contextlib.suppress(OSError):
            ours.shutdown(socket.SHUT_WR)
            while ours.recv(MAX_ORDER):
                pass
    kill_all_below()  # programs that evaluate.py itself started
    if controls:
        cgroup.sweep()
    return os.waitstatus_to_exitcode(status)
