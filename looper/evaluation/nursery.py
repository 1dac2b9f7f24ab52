"""The process that evaluators and their workers are forked from.

Started once by a runner, it imports what they need and is never told anything about a job, nor of looper's
environment: a fork of it costs a millisecond and knows nothing. It must start no thread and touch no GPU.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import traceback
from typing import NoReturn

from looper.evaluation.main import main as evaluator
from looper.sandbox.keeper import Keeper, keep
from looper.sandbox.launcher import close_all_but, die_with_parent

MAX_REQUEST = 1 << 17  # bytes


def main(requests: int) -> None:
    """Fork an evaluator for each request until looper closes its end of the socket ``requests``.

    A request is the evaluator's environment, with three descriptors: the read end of the pipe for its job, and
    the write ends of those for its output and for its events.
    """
    if os.environ.get("OMP_NUM_THREADS") == "1":  # then it starts no pool of threads, which a fork would lose
        import numpy  # noqa: F401
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers: they see to their own
    gc.collect()
    gc.freeze()  # what is there stays as it is, in memory that the forks share
    sock = socket.socket(fileno=requests)
    while True:
        message, fds, _, _ = socket.recv_fds(sock, MAX_REQUEST, 3)
        if not message:
            return
        if os.fork() == 0:
            try:
                be_keeper(json.loads(message), *fds)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        for fd in fds:
            os.close(fd)


def be_keeper(environment: dict[str, str], job: int, output: int, events: int) -> NoReturn:
    """Fork the evaluator, keep it, and tell looper how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # a Ctrl-C at the terminal is for looper alone
    for standard, fd in enumerate((job, output, output)):
        os.dup2(fd, standard)
    close_all_but({events})
    os.set_inheritable(events, False)
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        orders.close()
        be_evaluator(environment, keeper, events, theirs)
    theirs.close()
    code = keep(child, orders, lifeline=0)
    os.write(events, json.dumps({"event": "ended", "code": code}).encode() + b"\n")
    os._exit(0)


def be_evaluator(environment: dict[str, str], keeper: int, events: int, orders: socket.socket) -> NoReturn:
    """The evaluator, in a process group of its own."""
    die_with_parent(keeper, signal.SIGKILL)
    os.setsid()
    os.environ.update(environment)
    evaluator(events, Keeper(orders))
    os._exit(0)  # everything is closed; spare the libraries' own farewells
