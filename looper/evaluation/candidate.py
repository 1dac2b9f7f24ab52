"""The handle on a worker that holds the candidate."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from looper.evaluation import wire
from looper.evaluation.channel import Channel, Closed
from looper.evaluation.failures import Crash, Failure, Invalid, OutOfMemory, signal_name
from looper.evaluation.logtext import clean, one_line
from looper.evaluation.wire import WireError
from looper.sandbox import WORK_IN_ENV, Limits, Sandbox, Spec, Usage
from looper.sandbox.proctree import oom_kills

REPLY_BYTES = 64 << 20
MAX_PROGRESS_KEYS = 8


class Host(NamedTuple):
    """What a worker is started with, and whom it answers to.

    Args:
        sandbox: the isolation backend.
        scratch: a folder for what a backend has to put on the disk.
        device: ``cpu`` or ``cuda``.
        devices: device nodes of its GPU.
        cores: the cores it may run on; empty for all.
        memory_mb: MiB that it may use.
        check: called all the time while it is waited for; raises a Failure when a budget is used up.
        progress: takes what it claims about its progress.
    """

    sandbox: Sandbox
    scratch: str
    device: str
    devices: tuple[str, ...]
    cores: tuple[int, ...]
    memory_mb: int
    check: Callable[[], None]
    progress: Callable[[Mapping[str, float]], None]


class Candidate:
    """What ``run.candidate(...)`` yields. Attributes: ``layers``, the isolation layers that are on.

    Args:
        host: what it is started with.
        files: what it sees of the target, by path.
        hidden: files and folders that it must not be able to read.
    """

    def __init__(self, host: Host, files: Mapping[str, bytes], hidden: tuple[str, ...] = ()) -> None:
        self._host = host
        self._peak_mb = 0.0
        self._failure: Failure | None = None
        self._closed = False
        self._oom_kills = oom_kills()
        self._process = host.sandbox.start(
            Spec(
                main="looper.evaluation.worker",
                env=worker_environment(WORK_IN_ENV, host.device),
                files=files,
                scratch=host.scratch,
                limits=Limits(memory_mb=host.memory_mb),
                cores=host.cores,
                devices=host.devices,
                hidden=hidden,
            )
        )
        self.layers = self._process.layers
        self._channel = Channel(self._process.channel, self._process.log_fd, host.check)

    @property
    def peak_memory_mb(self) -> float:
        """Peak resident memory of the worker's process tree in MiB, as sampled from outside."""
        return self._peak_mb

    def load(self, path: str, driver: str | None) -> None:
        """Import the candidate's file in the worker, and the driver. Raises as :meth:`call` does."""
        self._exchange({"load": {"candidate": path, "driver": driver}}, REPLY_BYTES, path)

    def call(self, function: str, *args: Any, reply_bytes: int = REPLY_BYTES) -> Any:
        """Call a function in the worker and return its claim.

        Args:
            function: a function of the driver, or of the candidate's file when there is no driver.
            args: None, bool, int, float, str, bytes, lists, dicts, numpy arrays, ``run.share(...)`` and
                ``run.buffer(...)``.
            reply_bytes: the most bytes of arrays that the reply may hold.

        Raises:
            Crash, OutOfMemory, Timeout, Invalid: let them pass; looper records them. After one of them the
                worker answers no more.
            WireError: when the arguments are none of the above.
        """
        return self._exchange({"call": [function, list(args)]}, reply_bytes, f"{function}()")

    def usage(self) -> Usage:
        """What the worker's process tree uses."""
        usage = self._process.usage()
        self._peak_mb = max(self._peak_mb, usage.memory_mb)
        return usage

    def memory_mb(self) -> float:
        """MiB that its process tree holds now, shared pages counted once."""
        return self._process.memory_mb()

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended one of its processes for the memory they used."""
        return self._process.out_of_memory()

    def waited_s(self) -> float:
        """Seconds the worker's main thread was ready to run but had no core."""
        return self._process.waited_s()

    def close(self) -> tuple[str, ...]:
        """End the whole process tree and return the tail of what it printed."""
        self._closed = True
        self._process.kill()
        self._channel.close()
        return self._channel.log.lines()

    def _exchange(self, message: dict[str, Any], reply_bytes: int, what: str) -> Any:
        if self._closed:
            raise RuntimeError(f"{what} was called after the end of its `with run.candidate(...)` block.")
        if self._failure is not None:
            raise self._failure
        frame = wire.encode(message)
        try:
            self._channel.send(frame)
            return self._answer(reply_bytes, what)
        except WireError as error:
            self._failure = Invalid(f"the answer of {what} was refused: {error}.")
        except Closed:
            self._failure = self._ended(what)
        except Failure as failure:
            self._failure = failure
        raise self._failure

    def _answer(self, reply_bytes: int, what: str) -> Any:
        while True:
            reply = self._channel.receive(reply_bytes)
            if not (isinstance(reply, dict) and len(reply) == 1):
                raise WireError("a message with an unknown kind of value")
            ((kind, body),) = reply.items()
            if kind == "value":
                return body
            if kind == "progress":
                self._host.progress(_checked_progress(body))
            elif kind == "error":
                raise _error(body, what)
            else:
                raise WireError("a message with an unknown kind of value")

    def _ended(self, what: str) -> Failure:
        """The failure for a worker whose end of the channel is gone."""
        if not self._process.reap():
            return Invalid(f"the worker closed its channel during {what} and ran on, without an answer.")
        code = self._process.exit_code
        if self._process.out_of_memory():
            limit = f"the limit is {self._host.memory_mb} MiB"
            return OutOfMemory(f"the worker was ended during {what}: it used too much memory ({limit}).")
        if code is None:
            return Crash(f"the worker was ended from outside during {what}, without an answer.")
        if code >= 0:
            return Crash(f"the worker exited with status {code} during {what}, without an answer.")
        if code == -9 and oom_kills() > self._oom_kills:
            return OutOfMemory(f"the worker was ended during {what}: the machine was out of memory.")
        return Crash(f"the worker was ended by {signal_name(-code)} during {what}, without an answer.")


def _error(body: Any, what: str) -> Failure:
    """The failure for an exception that the worker says it raised."""
    fields = body if isinstance(body, dict) else {}
    text, trace, kind = (fields.get(key) for key in ("text", "trace", "kind"))
    if not (isinstance(text, str) and isinstance(trace, str)):
        raise WireError("an error report without its text")
    if kind == "value":
        return Invalid(one_line(f"the answer of {what} was refused: {text}."))
    failure = OutOfMemory if kind == "oom" else Crash
    return failure(one_line(f"{what}: {text}"), log="\n".join(clean(trace)))


def _checked_progress(values: Any) -> dict[str, float]:
    if not (isinstance(values, dict) and len(values) <= MAX_PROGRESS_KEYS):
        raise WireError("progress that is not a short dict of numbers")
    if not all(type(value) in (int, float) for value in values.values()):
        raise WireError("progress that is not a short dict of numbers")
    return {one_line(key, 40): float(value) for key, value in values.items() if _is_finite(value)}


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int too large for a float
        return False


def worker_environment(folder: str, device: str) -> dict[str, str]:
    """The worker's whole environment: nothing of looper's own but what the device's driver needs."""
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": folder,
        "TMPDIR": folder,
        "LANG": "C.UTF-8",
        # programs ask for the user's name, which in a container need not exist
        "USER": "worker",
        "LOGNAME": "worker",
    }
    if device == "cuda":
        env |= {
            "TRITON_CACHE_DIR": f"{folder}/triton",
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
            "CUDA_CACHE_PATH": f"{folder}/cuda",
        }
        passed = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "CUDA_HOME")
        env |= {name: os.environ[name] for name in passed if name in os.environ}
    else:
        # One core, one thread; the CPU clock counts every thread in any case.
        env |= {
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
    return env
