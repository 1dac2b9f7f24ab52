"""What the user asked for, and when a session has had enough."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from looper.isolation import Wish
from looper.models import Target
from looper.record import Record


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Args:
        tag: of the session; None for the target's name.
        fresh: open a new session even where there is one of that tag; never touches the old.
        resume: the session must exist.
        slots: experiments at once, None for one a device.
        experiments: how many more to make, None for no limit.
        hours: how long to go on, None for no limit.
        proposer: name of the proposer.
        isolation: what candidates are held back by.
        options: values of the plugins' own options.
    """

    tag: str | None = None
    fresh: bool = False
    resume: bool = False
    slots: int | None = None
    experiments: int | None = None
    hours: float | None = None
    proposer: str = "search"
    options: Mapping[str, Any] = field(default_factory=dict)
    isolation: Wish = field(default_factory=Wish)


class Stop:
    """The stop rules. Called with the record, it gives the reason to stop, empty to go on.

    Attributes:
        interrupted: set when the user asked to finish what runs and stop.
    """

    def __init__(self, target: Target, request: Request) -> None:
        self.interrupted = False
        self._metric = target.metric
        self._experiments, self._hours = request.experiments, request.hours
        self._began = time.monotonic()
        self._first: int | None = None  # number of this run's first experiment

    def __call__(self, record: Record) -> str:
        if self._first is None:
            self._first = max(record.next_n, 1)
        champion = record.champion
        if self.interrupted:
            return "interrupted"
        if champion and self._metric.reached(champion.metrics[self._metric.name]):
            return f"the goal of {self._metric.goal:g} is reached"
        if self._hours is not None and time.monotonic() - self._began >= self._hours * 3600:
            return f"{self._hours:g} hours are over"
        if self._experiments is not None and record.next_n - self._first >= self._experiments:
            return f"{self._experiments} experiments were asked for"
        return ""
