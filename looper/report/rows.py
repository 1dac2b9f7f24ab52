"""One experiment as one line: number, metric, change, verdict, hypothesis. The verdict stands apart."""

from __future__ import annotations

from typing import NamedTuple

from looper.models import Experiment, Metric
from looper.report import words

NUMBER, METRIC, CHANGE, VERDICT = 5, 12, 9, 9  # widths of the columns
NO_CHANGE_BELOW, NO_METRIC_BELOW = 44, 30  # narrower terminals do without these columns


class Row(NamedTuple):
    """The parts of a line; the verdict is apart so that it can be coloured."""

    left: str
    verdict: str
    right: str

    def __str__(self) -> str:
        return f"{self.left}{self.verdict}{self.right}".rstrip()


def heading(metric: Metric, width: int | None = None) -> Row:
    """The names of the columns; ``width`` as in :func:`row`."""
    return _row("n", metric.name[: METRIC - 1], "change", "verdict", "hypothesis", width)


def row(experiment: Experiment, metric: Metric, width: int | None = None) -> Row:
    """The line of an experiment. It may be longer than ``width``, in characters: that only chooses the columns."""
    value = words.value_of(experiment, metric)
    return _row(
        f"#{experiment.n}",
        "" if value is None else words.number(value),
        words.change(experiment, metric),
        experiment.verdict or "running",
        words.said(experiment),
        width,
    )


def _row(n: str, value: str, change: str, verdict: str, text: str, width: int | None) -> Row:
    left = f"{n:>{NUMBER}} "
    if width is None or width >= NO_METRIC_BELOW:
        left += f"{value:>{METRIC}} "
    if width is None or width >= NO_CHANGE_BELOW:
        left += f"{change:>{CHANGE}} "
    return Row(f"{left} ", f"{verdict:<{VERDICT}}", f"  {text}")
