"""The evaluator process of one slot: started ahead of time, handed one job, listened to, ended."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from looper.evaluation.logtext import Tail, one_line
from looper.models import Measurement, Status

MAX_LINE = 1 << 20
STATUSES: dict[str, Status] = {
    "ok": "ok", "crash": "crash", "oom": "oom", "nan": "nan", "timeout": "timeout", "invalid": "invalid",
    "infra": "infra",
}  # fmt: skip
PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
    "LOOPER_CACHE",
    "TMPDIR",
    "CUDA_HOME",
)
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


class Evaluator:
    """One ``python -I`` process. It takes exactly one job; its result comes on a pipe of its own.

    Attributes:
        phase, used_s, of_s, values: the latest it told of its progress.
        result: the parsed result, None until it came.
    """

    def __init__(self, device_env: Mapping[str, str]) -> None:
        read, write = os.pipe()
        code = f"from looper.evaluation.main import main; main({write})"
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(device_env)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(write,),
            env=env,
            start_new_session=True,  # a Ctrl-C at the terminal is for looper alone
            preexec_fn=_die_with_looper,
        )
        os.close(write)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._events = os.fdopen(read, "rb", buffering=0)
        os.set_blocking(self._stdout.fileno(), False)
        os.set_blocking(self._events.fileno(), False)
        self._open = {self._stdout.fileno(), self._events.fileno()}
        self._line = bytearray()
        self.output = Tail()
        self.phase, self.used_s, self.of_s, self.values = "setup", 0.0, 0.0, dict[str, float]()
        self.result: dict[str, Any] | None = None
        self.fault = ""

    def start(self, job: Mapping[str, Any]) -> None:
        """Hand it its job; standard input stays open for as long as looper lives."""
        with contextlib.suppress(BrokenPipeError):  # it is dead: its end is noticed as any other
            self._stdin.write(json.dumps(job).encode() + b"\n")
            self._stdin.flush()

    def filenos(self) -> set[int]:
        """Descriptors to wait on."""
        return self._open

    def read(self, fd: int) -> None:
        """Take what came on ``fd``."""
        while fd in self._open:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                self._open = self._open - {fd}
            elif fd == self._stdout.fileno():
                self.output.add(data)
            else:
                self._take(data)

    @property
    def ended(self) -> bool:
        """Whether it closed both its streams, or gave its result."""
        return not self._open or self.result is not None

    def _take(self, data: bytes) -> None:
        self._line += data
        *lines, rest = self._line.split(b"\n")
        self._line = bytearray(rest)
        if len(rest) > MAX_LINE:
            self.fault = "sent a line without an end"
            self._open = set()
        for line in lines:
            try:
                self._handle(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                self.fault = f"sent a line that is not valid ({error!r})"

    def _handle(self, event: dict[str, Any]) -> None:
        if self.result is not None:
            raise ValueError("more after the result")
        if event["event"] == "phase":
            self.phase = str(event["phase"])
        elif event["event"] == "progress":
            self.used_s, self.of_s = float(event["used"]), float(event["of"])
            self.values = {str(key): float(value) for key, value in event["values"].items()}
        elif event["event"] == "result":
            self.result = _checked(event)
        else:
            raise ValueError("an unknown event")

    def kill(self) -> None:
        """End it, and with it every worker below it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._stdin, self._stdout, self._events):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def measurement(self, seed: int, started: float, overdue: bool) -> Measurement:
        """The result as a measurement; without one, why there is none."""
        log = self.output.lines()
        if self.result is None or self.fault:
            if overdue:
                reason = "the evaluator outlived all its budgets and was ended"
            elif self.fault:
                reason = f"the evaluator {self.fault}"
            else:
                reason = f"the evaluator ended without a result (status {self._process.poll()})"
            timings = {"total_s": time.monotonic() - started}
            return Measurement("timeout" if overdue else "infra", {}, reason, seed, timings, {}, log)
        result = self.result
        return Measurement(
            status=STATUSES[result["status"]],
            metrics=result["metrics"],
            reason=one_line(result["reason"]),
            seed=seed,
            timings=result["timings"],
            facts=result["facts"],
            log=(*log, *result["log"])[-50:],
        )


def _die_with_looper() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _checked(event: dict[str, Any]) -> dict[str, Any]:
    """The result event, after a strict look at every field.

    Raises:
        ValueError, KeyError, TypeError: when it is not what an evaluator sends.
    """
    metrics = event["metrics"]
    if event["status"] not in STATUSES or (event["status"] == "ok") != bool(metrics):
        raise ValueError("a result whose status and metrics disagree")
    for values in (metrics, event["timings"]):
        if not all(type(key) is str and type(value) in (int, float) for key, value in values.items()):
            raise ValueError("a metric that is not a number")
        if not all(math.isfinite(value) for value in values.values()):
            raise ValueError("a metric that is not finite")
    if not (isinstance(event["facts"], dict) and all(isinstance(line, str) for line in event["log"])):
        raise ValueError("facts or log of a wrong type")
    return event
