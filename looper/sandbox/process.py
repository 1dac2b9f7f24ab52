"""The plain backend: a process of its own, with limits, a scrubbed environment and a whole-tree kill.

What is covered: nothing of the parent's environment or descriptors is inherited; every process that the
worker forks is accounted for and dies with it; it gains no privilege by running a set-uid file.
What is not covered: it reads and writes files and reaches the network as the user who runs looper.
This backend stops accidents, not adversaries, and is labelled so in every measurement.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from looper.sandbox.proctree import ProcessTree
from looper.sandbox.protocol import Confined, Layer, Level, Spec

LAUNCHER = str(Path(__file__).with_name("launcher.py"))

LAYERS = {
    "pid-namespace": "",
    "subreaper": "This system allows no PID namespace (unshare was refused): the tree is ended by a loop "
    "over its processes instead.",
}


class ProcessSandbox:
    """See the module's text for what it holds back."""

    name = "process"
    level = Level.PROCESS

    def probe(self) -> list[Layer]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                worker = self.start(Spec(main="looper.sandbox.probe", env={}, cwd=folder))
            except OSError as error:
                return [Layer("process", False, str(error), "Run on Linux with /proc mounted.")]
            alive = worker.channel.recv(1) == b"!"
            worker.kill()
        namespace = "pid-namespace" in worker.layers
        fix = "" if namespace else "Allow user namespaces (sysctl user.max_user_namespaces), or run as root."
        return [
            Layer("process", alive, "" if alive else "the worker did not answer"),
            Layer("pid-namespace", namespace, "" if namespace else LAYERS["subreaper"], fix),
        ]

    def start(self, spec: Spec) -> Confined:
        return LaunchedWorker(spec)


class LaunchedWorker:
    """A worker below ``launcher.py``; see :class:`looper.sandbox.protocol.Confined`."""

    def __init__(self, spec: Spec) -> None:
        self.ending: str | None = None
        self.killed_by: int | None = None
        self.channel, theirs = socket.socketpair()
        self.log_fd, log = os.pipe()
        status, their_status = os.pipe()
        order = {
            **spec._asdict(),
            "limits": spec.limits._asdict(),
            "parent": os.getpid(),
            "channel": theirs.fileno(),
            "status": their_status,
        }
        self._launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", LAUNCHER, json.dumps(order)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(theirs.fileno(), their_status),
            env={},
            start_new_session=True,
        )
        os.close(log)
        os.close(their_status)
        theirs.close()
        self._status = os.fdopen(status, "rb")
        self._tree = ProcessTree(self._launcher.pid)
        first = self._status.readline()  # a few milliseconds: the launcher runs none of the worker's code
        self.layers: tuple[str, ...] = tuple(json.loads(first)["layers"]) if first else ()

    def cpu_s(self) -> float:
        return self._tree.cpu_s()

    def waited_s(self) -> float:
        return self._tree.waited_s()

    def memory_mb(self) -> float:
        return self._tree.memory_mb()

    def kill(self) -> None:
        if self._launcher.poll() is None:
            self._launcher.send_signal(signal.SIGTERM)
        self._finish()

    def reap(self) -> None:
        try:
            self._launcher.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # it closed its channel and lives on
            self._launcher.send_signal(signal.SIGTERM)
        self._finish()

    def _finish(self) -> None:
        """The launcher exits only when nothing is left below it."""
        self._launcher.wait()
        if self._status.closed:
            return
        last = self._status.readline()
        self._status.close()
        self.channel.close()
        code = json.loads(last)["code"] if last else None
        if code is None:
            self.ending = "was ended"
        elif code < 0:
            self.killed_by = -code
            self.ending = f"was ended by {signal.Signals(-code).name}"
        else:
            self.ending = f"exited with status {code}"
