"""The evaluator's side of a worker: orders it, accounts for it, ends it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from typing import Any

from looper.sandbox.backends import BACKENDS
from looper.sandbox.cgroup import Cgroup
from looper.sandbox.launcher import packed
from looper.sandbox.proctree import ProcessTree, Usage
from looper.sandbox.protocol import Confined, Level, Spec
from looper.sandbox.python import python_code

PATIENCE_S = 1.0  # between a worker's closing of its channel and its end
START_PATIENCE_S = 120.0  # for a zygote that is still importing, on a machine that is busy with other things

#: Has a launcher started for an order, with the descriptors of ``launcher.Ends``. Beside them goes the other end of
#: the control: whoever starts launchers ends them by it when the evaluator is dead. The caller closes its own copies.
Launch = Callable[[dict[str, Any], int, list[int]], None]


def launch_alone(backend: str, gpu: bool = False) -> Launch:
    """For a single worker: a zygote that is a program of its own, and ends with it."""

    def launch(order: dict[str, Any], other_end: int, fds: list[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = f"from looper.sandbox.zygote import main; main({theirs.fileno()}, {backend!r}, (), {gpu!r})"
        with ours, theirs:
            subprocess.Popen(
                python_code(f"import os; os.fork() and os._exit(0); {code}"),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={},
                start_new_session=True,
            ).wait()
            socket.send_fds(ours, [json.dumps(order).encode()], fds)

    return launch


class Sandbox:
    """A backend, by name; ``launch`` has its launchers started.

    Attributes: ``name``, and the ``level`` that its workers are held to.
    """

    def __init__(self, name: str, launch: Launch | None = None) -> None:
        self.name = name
        self.level = BACKENDS[name].level
        self._launch = launch or launch_alone(name)

    def start(self, spec: Spec) -> Confined:
        """Start a worker. None of the code that it is for has run yet when this returns.

        Raises:
            OSError: when the system refuses.
        """
        if not os.path.exists("/proc/thread-self/children"):
            raise OSError("/proc does not list the children of a process: a worker could not be accounted for")
        return LaunchedWorker(spec, self._launch, grouped=self.level < Level.CONTAINER)


class LaunchedWorker:
    """A worker below a launcher; see :class:`looper.sandbox.protocol.Confined`.

    Args:
        grouped: whether to make a control group for it; containers have theirs.
    """

    def __init__(self, spec: Spec, launch: Launch, grouped: bool) -> None:
        self.exit_code: int | None = None
        self._oom_kills = 0
        self.channel, channel = socket.socketpair()
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(START_PATIENCE_S)
        self.log_fd, log = os.pipe()
        files = packed(spec.files)
        self._group = Cgroup.create(spec.limits.memory_mb, spec.limits.processes) if grouped else None
        groups = self._group.procs if self._group else []
        order = {**spec._asdict(), "files": None, "limits": spec.limits._asdict(), "memfds": spec.memfds(bool(groups))}
        try:
            launch(order, self._control.fileno(), [channel.fileno(), log, control.fileno(), files, *groups])
        except OSError:
            self._close()
            os.close(self.log_fd)
            raise
        finally:
            channel.close()
            control.close()
            os.close(log)
            os.close(files)
            if self._group:
                self._group.close_procs()
        self._wait_until_confined()

    def _wait_until_confined(self) -> None:
        try:
            started = self._told()
        except TimeoutError:
            started = None
        if started is None or "layers" not in started:
            self._control.shutdown(socket.SHUT_WR)
            raise OSError(f"no worker could be started: {self._last_words()}")
        self._control.settimeout(None)
        held = [f"cgroup-v{self._group.version}"] if self._group else []
        self.layers: tuple[str, ...] = (*started["layers"], *held)
        self._tree = ProcessTree(started["launcher"])

    def usage(self) -> Usage:
        usage = self._tree.look()
        return usage._replace(memory_mb=self._group.memory_mb()) if self._group else usage

    def memory_mb(self) -> float:
        return self._group.memory_mb() if self._group else self._tree.memory_mb()

    def waited_s(self) -> float:
        return self._tree.waited_s()

    def out_of_memory(self) -> bool:
        if self._group:
            self._oom_kills = max(self._oom_kills, self._group.oom_kills())
        return self._oom_kills > 0

    def kill(self) -> None:
        if self._control.fileno() < 0:
            return
        self._control.shutdown(socket.SHUT_WR)
        self._finish()

    def reap(self) -> bool:
        self._control.settimeout(PATIENCE_S)
        ended = True
        try:
            self._heard_of_its_end(self._told())
        except TimeoutError:
            ended = False
        self._control.settimeout(None)
        self.kill()
        return ended

    def _finish(self) -> None:
        """The launcher lets go of its end only when nothing is left below it."""
        while (told := self._told()) is not None:
            self._heard_of_its_end(told)
        self._close()

    def _heard_of_its_end(self, told: dict[str, Any] | None) -> None:
        if told:
            self.exit_code = told["code"]
            self._oom_kills = max(self._oom_kills, told.get("oom_kills", 0))

    def _close(self) -> None:
        self._control.close()
        self.channel.close()
        if self._group:
            self.out_of_memory()
            self._group.remove()
            self._group = None

    def _told(self) -> dict[str, Any] | None:
        """What the launcher, init or the worker before its start says next, None when all are gone."""
        message = self._control.recv(1 << 16)
        return json.loads(message) if message else None

    def _last_words(self) -> str:
        self._close()
        os.set_blocking(self.log_fd, False)
        with open(self.log_fd, "rb") as log:
            lines = (log.read() or b"").decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its launcher ended at once"
