"""The plain backend: a process of its own, with limits, a scrubbed environment and a whole-tree kill.

What is covered: nothing of the parent's environment or descriptors is inherited; every process that the
worker forks is accounted for and dies with it; it gains no privilege by running a set-uid file.
What is not covered: it reads and writes files and reaches the network as the user who runs looper.
This backend stops accidents, not adversaries, and is labelled so in every measurement.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import looper
from looper.sandbox.proctree import ProcessTree, Usage
from looper.sandbox.protocol import Confined, Layer, Level, Spec

PATIENCE_S = 1.0  # between a worker's closing of its channel and its end
NO_NAMESPACE = (
    "This system allows no PID namespace (unshare was refused): the tree is ended by a loop over its processes instead."
)

#: Starts a launcher for an order, with four descriptors: the worker's end of its channel, the write end of its
#: log, the launcher's end of its control, and the other end of that. The caller closes its own copies, and calls
#: what is returned when the launcher has ended.
Launch = Callable[[dict[str, Any], list[int]], Callable[[], object]]


def python_code(code: str) -> list[str]:
    """A command that runs ``code`` in an isolated Python that imports this very looper, installed or not."""
    root = str(Path(looper.__file__).parent.parent)
    find = f"import sys; sys.path.insert(0, {root!r}); import looper; del sys.path[0]"
    return [sys.executable, "-I", "-c", f"{find}; {code}"]


def launch_program(order: dict[str, Any], fds: list[int]) -> Callable[[], object]:
    """Start a launcher as a program of its own."""
    program = subprocess.Popen(
        [*python_code("from looper.sandbox.launcher import main; main()"), json.dumps(order), *map(str, fds[:3])],
        stdin=subprocess.DEVNULL,
        pass_fds=fds[:3],
        env={},
    )
    return program.wait


class ProcessSandbox:
    """See the module's text for what it holds back. ``launch`` starts its launchers."""

    name = "process"
    level = Level.PROCESS

    def __init__(self, launch: Launch = launch_program) -> None:
        self._launch = launch

    def probe(self) -> list[Layer]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                worker = self.start(Spec(main="looper.sandbox.probe", env={}, cwd=folder))
            except OSError as error:
                return [Layer("process", False, str(error), "Run on Linux with /proc mounted.")]
            worker.channel.settimeout(10)
            try:
                alive = worker.channel.recv(1) == b"!"
            except TimeoutError:
                alive = False
            worker.kill()
            os.close(worker.log_fd)
        namespace = "pid-namespace" in worker.layers
        fix = "" if namespace else "Allow user namespaces (sysctl user.max_user_namespaces), or run as root."
        return [
            Layer("process", alive, "" if alive else "the worker did not answer"),
            Layer("pid-namespace", namespace, "" if namespace else NO_NAMESPACE, fix),
        ]

    def start(self, spec: Spec) -> Confined:
        if not os.path.exists("/proc/thread-self/children"):
            raise OSError("/proc does not list the children of a process: a worker could not be accounted for")
        return LaunchedWorker(spec, self._launch)


class LaunchedWorker:
    """A worker below a launcher; see :class:`looper.sandbox.protocol.Confined`."""

    def __init__(self, spec: Spec, launch: Launch) -> None:
        self.exit_code: int | None = None
        self.channel, channel = socket.socketpair()
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log_fd, log = os.pipe()
        try:
            order = {**spec._asdict(), "limits": spec.limits._asdict()}
            self._launcher_ended = launch(order, [channel.fileno(), log, control.fileno(), self._control.fileno()])
        finally:
            channel.close()
            control.close()
            os.close(log)
        started = self._told()  # a few milliseconds: none of the worker's code has run yet
        if started is None:
            raise OSError(f"no worker could be started: {self._last_words()}")
        self.layers: tuple[str, ...] = tuple(started["layers"])
        self._tree = ProcessTree(started["launcher"])

    def usage(self) -> Usage:
        return self._tree.look()

    def waited_s(self) -> float:
        return self._tree.waited_s()

    def kill(self) -> None:
        if self._control.fileno() < 0:
            return
        self._control.shutdown(socket.SHUT_WR)
        self._finish()

    def reap(self) -> bool:
        self._control.settimeout(PATIENCE_S)
        ended = True
        try:
            told = self._told()
            self.exit_code = told["code"] if told else None
        except TimeoutError:
            ended = False
        self._control.settimeout(None)
        self.kill()
        return ended

    def _finish(self) -> None:
        """The launcher lets go of its end only when nothing is left below it."""
        while (told := self._told()) is not None:
            self.exit_code = told["code"]
        self._close()

    def _close(self) -> None:
        self._control.close()
        self.channel.close()
        self._launcher_ended()

    def _told(self) -> dict[str, Any] | None:
        """What the launcher or init says next, None when both are gone."""
        message = self._control.recv(1 << 16)
        return json.loads(message) if message else None

    def _last_words(self) -> str:
        self._close()
        with open(self.log_fd, errors="replace") as log:
            lines = log.read().strip().splitlines()
        return lines[-1] if lines else "its launcher ended at once"
