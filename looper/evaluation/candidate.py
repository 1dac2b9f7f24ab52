"""The handle on a worker that holds the candidate."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from looper.evaluation.channel import Channel, Closed
from looper.evaluation.failures import Crash, Failure, Invalid, OutOfMemory
from looper.evaluation.logtext import clean, one_line
from looper.evaluation.wire import WireError
from looper.sandbox import Limits, Sandbox, Spec

if TYPE_CHECKING:
    from looper.evaluation.run import Run

REPLY_BYTES = 64 << 20
MAX_PROGRESS_KEYS = 8


class Candidate:
    """What ``run.candidate(...)`` yields. Attributes: ``layers``, the isolation layers that are on."""

    def __init__(self, run: Run, sandbox: Sandbox, job: Mapping[str, Any], path: str, driver: str | None) -> None:
        self._run = run
        self._peak_mb = 0.0
        self._folder = tempfile.mkdtemp(prefix="worker-", dir=job["scratch"])
        self._process = sandbox.start(
            Spec(
                main="looper.evaluation.worker",
                env=worker_environment(self._folder, job["device"]),
                cwd=self._folder,
                limits=Limits(memory_mb=job["budget"]["memory_mb"]),
                cores=tuple(job["cores"]),
            )
        )
        self.layers = self._process.layers
        self._channel = Channel(self._process.channel, self._process.log_fd, run.check_budgets)
        self._closed = False
        self._exchange({"load": {"root": str(run.root), "candidate": path, "driver": driver}}, REPLY_BYTES, path)

    @property
    def peak_memory_mb(self) -> float:
        """Peak resident memory of the worker's process tree in MiB, as sampled from outside."""
        return self._peak_mb

    def call(self, function: str, *args: Any, reply_bytes: int = REPLY_BYTES) -> Any:
        """Call a function in the worker and return its claim.

        Args:
            function: a function of the driver, or of the candidate's file when there is no driver.
            args: None, bool, int, float, str, bytes, lists, dicts, numpy arrays, ``run.share(...)`` and
                ``run.buffer(...)``.
            reply_bytes: the most bytes of arrays that the reply may hold.

        Raises:
            Crash, OutOfMemory, Timeout, Invalid: let them pass; looper records them.
        """
        return self._exchange({"call": [function, list(args)]}, reply_bytes, f"{function}()")

    def _exchange(self, message: dict[str, Any], reply_bytes: int, what: str) -> Any:
        try:
            self._channel.send(message)
            while True:
                reply = self._channel.receive(reply_bytes)
                if not (isinstance(reply, dict) and len(reply) == 1):
                    raise WireError("a message with an unknown kind of value")
                ((kind, body),) = reply.items()
                if kind == "value":
                    return body
                if kind == "progress":
                    self._progress(body)
                elif kind == "error":
                    raise self._error(body, what)
                else:
                    raise WireError("a message with an unknown kind of value")
        except WireError as error:
            raise Invalid(f"the answer of {what} was refused: {error}.") from None
        except Closed:
            raise self._ended(what) from None

    def _progress(self, values: Any) -> None:
        if not (isinstance(values, dict) and len(values) <= MAX_PROGRESS_KEYS):
            raise WireError("progress that is not a short dict of numbers")
        if not all(type(value) in (int, float) for value in values.values()):
            raise WireError("progress that is not a short dict of numbers")
        self._run.progress({one_line(key, 40): float(value) for key, value in values.items() if _is_finite(value)})

    def _error(self, body: Any, what: str) -> Failure:
        """The failure for an exception that the worker says it raised."""
        fields = body if isinstance(body, dict) else {}
        text, trace, kind = (fields.get(key) for key in ("text", "trace", "kind"))
        if not (isinstance(text, str) and isinstance(trace, str)):
            raise WireError("an error report without its text")
        failure: type[Failure] = {"oom": OutOfMemory, "value": Invalid}.get(str(kind), Crash)
        return failure(one_line(f"{what}: {text}"), log="\n".join(clean(trace)))

    def _ended(self, what: str) -> Crash | OutOfMemory:
        """The failure for a worker that is gone without an answer."""
        self._process.reap()
        ending = self._process.ending
        if self._process.killed_by == 9:
            return OutOfMemory(f"the worker {ending} during {what}: the system was out of memory, most likely.")
        return Crash(f"the worker {ending} during {what}, without an answer.")

    def cpu_s(self) -> float:
        """CPU seconds of the worker's process tree since it started."""
        return self._process.cpu_s()

    def waited_s(self) -> float:
        """Seconds the worker's main thread was ready to run but had no core."""
        return self._process.waited_s()

    def memory_mb(self) -> float:
        """Resident memory of the worker's process tree now, in MiB."""
        now = self._process.memory_mb()
        self._peak_mb = max(self._peak_mb, now)
        return now

    def close(self) -> tuple[str, ...]:
        """End the whole process tree, remove its folder, and return the tail of what it printed."""
        self._process.kill()
        self._channel.drain()
        self._channel.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._channel.log.lines()


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
