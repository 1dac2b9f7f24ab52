"""The view for a terminal: a table of the last experiments, a line for each running one, and how it goes.

Whatever comes from candidates and proposers is cleaned and printed as it is, never read as markup.
"""

from __future__ import annotations

import time
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from looper.models import Experiment, Target
from looper.report import prose, rows, words
from looper.report.pace import Pace
from looper.report.running import Watch
from looper.report.terminal import expendable, lead_nowhere, output
from looper.runner import Progress
from looper.session import Session
from looper.stop import Request

EVERY_S = 0.2  # between two drawings: the loop waits for each
SHOWN = 12  # finished experiments
NO_BAR_BELOW = 60  # columns
UP_AND_ERASE = "\x1b[A\x1b[2K"


class ScreenView:
    """Draws in place; made for one session on one terminal."""

    def __init__(self, target: Target, request: Request) -> None:
        self._target, self._request = target, request
        self._out = output()
        self._console = _Console(self._out)
        self._live = Live(console=self._console, auto_refresh=False)
        self._pace, self._watch = Pace(request), Watch(target.budget)
        self._session: Session | None = None
        self._running: list[Progress] = []
        self._drawn_at = 0.0
        self._drawn: list[int] = []  # widths of the lines on the screen
        self._width = 0
        self._interrupted = self._ended = False

    def opened(self, session: Session) -> None:
        self._session = session
        with expendable(self._out):
            for line in prose.opening(session, self._target, self._request):
                self._console.print(line)
            self._console.print()
            self._live.start()
        self._draw()

    def tick(self, running: list[Progress]) -> None:
        self._running = running
        if time.monotonic() - self._drawn_at >= EVERY_S:
            self._draw()

    def decided(self, experiment: Experiment) -> None:
        self._pace.decided(experiment)  # the next tick draws it

    def interrupted(self) -> None:
        self._interrupted = True  # a signal handler may interrupt a drawing; the next tick shows it

    def ended(self, session: Session, reason: str) -> None:
        self._running, self._interrupted, self._ended = [], False, True
        self._draw()
        with expendable(self._out):
            self._live.stop()
            self._console.print()
            for line in prose.ending(session, self._target, self._request, reason):
                self._console.print(line, soft_wrap=True)  # a command must stay one line to be copied

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        with expendable(self._out):
            width, height = self._console.size
            self._after_resize(width)
            lines = self._frame(width, height)
            self._drawn, self._width = [cell_len(line.plain) for line in lines], width
            self._live.update(Group(*lines), refresh=True)

    def _after_resize(self, width: int) -> None:
        """A narrower terminal has broken the drawn lines into more lines: take away the extra ones."""
        if width < self._width:
            extra = sum(max(length - 1, 0) // width for length in self._drawn)
            self._out.write("\r\x1b[2K" + UP_AND_ERASE * extra)

    def _frame(self, width: int, height: int) -> list[Text]:
        assert self._session is not None
        record, metric = self._session.lab.record, self._target.metric
        footer = [self._pace.status(record, metric, self._ended)]
        if self._interrupted:
            footer.append("Finishing what runs. Ctrl-C again ends it now; either way the session can be resumed.")
        below = [Text(part) for text in footer for part in _wrapped(text, width)]
        running = [Text(line, style="cyan") for line in self._watch.lines(self._running, width >= NO_BAR_BELOW)]
        room = max(height - 2 - len(running) - len(below), 0)
        finished = [_coloured(rows.row(e, metric, width)) for e in record.history[-min(room, SHOWN) :] if room]
        lines = [Text(str(rows.heading(metric, width)), style="dim"), *finished, *running, *below]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
            line.truncate(width, overflow="ellipsis")
        return lines[-max(height - 1, 1) :]


class _Console(Console):
    """Prints text as it is; when its reader leaves, the session goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        super().__init__(file=stream, markup=False, emoji=False, highlight=False, force_terminal=True)

    def on_broken_pipe(self) -> None:
        lead_nowhere(self._stream)


def _coloured(row: rows.Row) -> Text:
    return Text.assemble(row.left, (row.verdict, words.COLOURS.get(row.verdict.strip(), "")), row.right)


def _wrapped(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width``, broken between its parts."""
    lines: list[str] = []
    for part in text.split(" · "):
        if lines and cell_len(lines[-1]) + 3 + cell_len(part) <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines
