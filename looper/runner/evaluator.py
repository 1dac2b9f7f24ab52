"""The evaluator of one job: handed the job, listened to, ended."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import time
from collections.abc import Mapping
from typing import Any

from looper.evaluation.failures import signal_name
from looper.evaluation.logtext import Tail, last, one_line
from looper.models import Measurement, Status
from looper.runner.nursery import Nursery

MAX_LINE = 1 << 20
READ = 1 << 16
READS = 16  # at one go, so that a flood on one descriptor does not keep looper from the others
PATIENCE_S = 30.0  # for processes to end that were killed; a GPU can hold one for seconds
STATUSES: dict[str, Status] = {
    "ok": "ok", "crash": "crash", "oom": "oom", "nan": "nan", "timeout": "timeout", "invalid": "invalid",
    "infra": "infra",
}  # fmt: skip


class Evaluator:
    """One evaluator process, its keeper and its workers. Its result comes on a pipe of its own.

    Attributes:
        phase, used_s, of_s, values: the latest it told of its progress.
        result: the parsed result, None until it came.
    """

    def __init__(self, nursery: Nursery, device_env: Mapping[str, str], job: Mapping[str, Any]) -> None:
        theirs, self._job = os.pipe()  # held open as long as the evaluator may run
        self._output, output = os.pipe()
        self._events, events = os.pipe()
        for fd in (self._output, self._events):
            os.set_blocking(fd, False)
        self._open = {self._output, self._events}
        self._line = bytearray()
        self.output = Tail()
        self.phase, self.used_s, self.of_s, self.values = "setup", 0.0, 0.0, dict[str, float]()
        self.result: dict[str, Any] | None = None
        self._fault = ""
        self._code: int | None = None
        try:
            nursery.fork(device_env, [theirs, output, events])
        finally:
            for fd in (theirs, output, events):
                os.close(fd)
        with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(self._job), "wb") as line:
            line.write(json.dumps(job).encode() + b"\n")

    def filenos(self) -> set[int]:
        """Descriptors to wait on."""
        return self._open

    def read(self, fd: int) -> None:
        """Take what came on ``fd``."""
        for _ in range(READS):
            try:
                data = os.read(fd, READ)
            except BlockingIOError:
                return
            if not data:
                self._open = self._open - {fd}
                return
            if fd == self._output:
                self.output.add(data)
            else:
                self._take(data)

    @property
    def ended(self) -> bool:
        """Whether it gave its result, broke the rules of the events, or is gone."""
        return self._events not in self._open or self.result is not None or bool(self._fault)

    @property
    def starved(self) -> bool:
        """Whether it says that the machine kept the candidate from running."""
        return self.result is not None and bool(self.result["starved"])

    def end(self) -> None:
        """End it and every worker below it. Returns when nothing of it is left, or cannot be ended."""
        os.close(self._job)  # the keeper sees it, and lets go of the events when all is over
        deadline = time.monotonic() + PATIENCE_S
        while self._events in self._open and (left := deadline - time.monotonic()) > 0:
            poller = select.poll()
            for fd in self._open:
                poller.register(fd, select.POLLIN)
            for fd, _ in poller.poll(left * 1000):
                self.read(fd)
        if self._events in self._open:
            self._fault = f"left processes behind that did not end within {PATIENCE_S:.0f} s of being killed"
        elif self._output in self._open:
            self.read(self._output)
        os.close(self._output)
        os.close(self._events)

    def measurement(self, seed: int, started: float, overdue: bool) -> Measurement:
        """Once it ended: the result as a measurement; without one, why there is none."""
        log = self.output.lines()
        if self.result is None or self._fault:
            status: Status = "infra"
            if self._fault:
                reason = f"the evaluator {self._fault}"
            elif overdue:
                status, reason = "timeout", "the evaluator outlived all its budgets and was ended"
            else:
                reason = f"the evaluator ended without a result{_how(self._code)}"
            timings = {"total_s": time.monotonic() - started}
            return Measurement(status, {}, reason, seed, timings, {}, log)
        result = self.result
        return Measurement(
            status=STATUSES[result["status"]],
            metrics=result["metrics"],
            reason=one_line(result["reason"]),
            seed=seed,
            timings=result["timings"],
            facts=result["facts"],
            log=last((*log, *result["log"])),
        )

    def _take(self, data: bytes) -> None:
        self._line += data
        *lines, rest = self._line.split(b"\n")
        self._line = bytearray(rest)
        if len(rest) > MAX_LINE:
            self._fault = "sent a line without an end"
            self._line.clear()
        for line in lines:
            try:
                self._handle(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._fault = f"sent a line that is not valid ({error!r})"

    def _handle(self, event: dict[str, Any]) -> None:
        if event["event"] == "ended":
            self._code = int(event["code"])
        elif self.result is not None:
            raise ValueError("more after the result")
        elif event["event"] == "phase":
            self.phase = str(event["phase"])
        elif event["event"] == "progress":
            self.used_s, self.of_s = float(event["used"]), float(event["of"])
            self.values = {str(key): float(value) for key, value in event["values"].items()}
        elif event["event"] == "result":
            self.result = _checked(event)
        else:
            raise ValueError("an unknown event")


def _how(code: int | None) -> str:
    if code is None:
        return ""
    return f" (it was ended by {signal_name(-code)})" if code < 0 else f" (it exited with status {code})"


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
    if type(event["reason"]) is not str or type(event["starved"]) is not bool:
        raise ValueError("a reason of a wrong type")
    return event
