"""The view for a file or a pipe: one line for each finished experiment, and a sign of life now and then."""

from __future__ import annotations

import time

from looper.models import Experiment, Target
from looper.report import prose, rows
from looper.report.pace import Pace
from looper.report.running import Watch
from looper.report.terminal import expendable, output
from looper.runner import Progress
from looper.session import Session
from looper.stop import Request

HEARTBEAT_S = 30.0


class PlainView:
    """Prints lines, each of them flushed."""

    def __init__(self, target: Target, request: Request) -> None:
        self._target, self._request = target, request
        self._out = output()
        self._pace, self._watch = Pace(request), Watch(target.budget)
        self._spoke = time.monotonic()
        self._interrupted = False

    def opened(self, session: Session) -> None:
        for line in prose.opening(session, self._target, self._request):
            self._say(line)
        self._say(str(rows.heading(self._target.metric)))

    def tick(self, running: list[Progress]) -> None:
        lines = self._watch.lines(running, bar=False)
        if self._interrupted:
            self._interrupted = False
            self._say("Finishing what runs. Ctrl-C again ends it now; either way the session can be resumed.")
        if lines and time.monotonic() - self._spoke > HEARTBEAT_S:
            self._say(f"running: {'; '.join(line.strip() for line in lines)}")

    def decided(self, experiment: Experiment) -> None:
        self._pace.decided(experiment)
        self._say(str(rows.row(experiment, self._target.metric)))

    def interrupted(self) -> None:
        self._interrupted = True  # said by the next tick: a signal handler may interrupt a print

    def ended(self, session: Session, reason: str) -> None:
        self._say(self._pace.status(session.lab.record, self._target.metric, ended=True))
        for line in prose.ending(session, self._target, self._request, reason):
            self._say(line)

    def _say(self, line: str) -> None:
        self._spoke = time.monotonic()
        with expendable(self._out):
            print(line, file=self._out, flush=True)
