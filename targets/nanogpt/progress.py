"""How far the preparation is: a bar on a terminal, a line now and then elsewhere; always on stderr."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_EVERY_S = 10.0


class Progress:
    """Bytes done of the stage under way. Safe to advance from several threads.

    As a context manager it leaves the terminal as it found it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._title = ""
        self._total = self._done = 0
        self._said = 0.0
        self._bar: Bar | None = _bar() if sys.stderr.isatty() else None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def stage(self, title: str, total: int = 0) -> None:
        """Begin a stage of ``total`` bytes; 0 when that is not known yet."""
        with self._lock:
            self._title, self._total, self._done, self._said = title, total, 0, time.monotonic()
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(title, total=total or None)
        else:
            self.say(title)

    def grow(self, count: int) -> None:
        """The stage turned out to have ``count`` bytes more."""
        with self._lock:
            self._total += count
        if self._bar and self._task is not None:
            self._bar.update(self._task, total=self._total)

    def advance(self, count: int) -> None:
        """``count`` more bytes are done; negative when some have to be done again."""
        with self._lock:
            self._done += count
            line = not self._bar and time.monotonic() - self._said > LINE_EVERY_S
            if line:
                self._said = time.monotonic()
            done = f"{self._title}: {self._done / 1e6:.0f} MB"
            if self._total:
                done += f" of {self._total / 1e6:.0f} MB"
        if self._bar and self._task is not None:
            self._bar.advance(self._task, count)
        elif line:
            self.say(done)

    def say(self, line: str) -> None:
        """A line of its own, which stays."""
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def _bar() -> Bar:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
