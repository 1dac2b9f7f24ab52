"""The process that evaluators are forked from.

Started once by a runner, it imports what they need and is never told anything about a job, nor of looper's
environment: a fork of it costs a millisecond and knows nothing. It must start no thread and touch no GPU.

Before that, it forks the zygote, which is to workers what this process is to evaluators.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import traceback
from collections.abc import Sequence
from typing import NoReturn

from looper.evaluation.main import main as evaluator
from looper.sandbox import zygote
from looper.sandbox.keeper import Keeper, keep
from looper.sandbox.linux import close_all_but, die_with_parent

MAX_REQUEST = 1 << 17  # bytes


def main(requests_fd: str, plan: str) -> None:
    """Fork an evaluator for each request until looper closes its end of the socket.

    A request is the evaluator's environment, with three descriptors: the read end of the pipe for its job, and
    the write ends of those for its output and for its events.

    Args:
        requests_fd: number of a SOCK_SEQPACKET socket.
        plan: as JSON, the name of the isolation backend, the modules that evaluators and workers begin with, and
            whether workers may be given GPUs.
    """
    requests = int(requests_fd)
    sandbox, preload, gpu = json.loads(plan)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers: they see to their own
    workers = fork_zygote(sandbox, preload, gpu)
    zygote.preload_modules(preload)
    sock = socket.socket(fileno=requests)
    while True:
        message, fds, _, _ = socket.recv_fds(sock, MAX_REQUEST, 3)
        if not message:
            return
        if is_gone(workers):
            workers.close()
            workers = fork_zygote(sandbox, preload, gpu)
        if os.fork() == 0:
            try:
                be_keeper(json.loads(message), workers, *fds)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(70)
        for fd in fds:
            os.close(fd)


def fork_zygote(sandbox: str, preload: Sequence[str], gpu: bool) -> socket.socket:
    """Fork the process that workers are forked from. Returns where its orders go."""
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        close_all_but({theirs.fileno()})  # not least those of a request: looper waits for their end
        zygote.main(theirs.detach(), sandbox, ("looper.evaluation.worker", *preload), gpu)
    theirs.close()
    return orders


def is_gone(workers: socket.socket) -> bool:
    """Whether nobody is left to take orders: the zygote was killed."""
    poller = select.poll()
    poller.register(workers, 0)
    return bool(poller.poll(0))


def be_keeper(environment: dict[str, str], workers: socket.socket, job: int, output: int, events: int) -> NoReturn:
    """Fork the evaluator, keep it, and tell looper how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # a Ctrl-C at the terminal is for looper alone
    for standard, fd in enumerate((job, output, output)):
        os.dup2(fd, standard)
    close_all_but({events, workers.fileno()})
    os.set_inheritable(events, False)
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        orders.close()
        workers.close()
        be_evaluator(environment, keeper, events, theirs)
    theirs.close()
    code = keep(child, orders, workers, lifeline=0)
    os.write(events, json.dumps({"event": "ended", "code": code}).encode() + b"\n")
    os._exit(0)


def be_evaluator(environment: dict[str, str], keeper: int, events: int, orders: socket.socket) -> NoReturn:
    """The evaluator, in a process group of its own."""
    die_with_parent(keeper, signal.SIGKILL)
    os.setsid()
    os.environ.update(environment)
    evaluator(events, Keeper(orders))
    os._exit(0)  # everything is closed; spare the libraries' own farewells
