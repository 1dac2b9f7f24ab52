"""Figures and verdicts in words, the same in every table, view and summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from looper.evaluation.logtext import one_line
from looper.models import Experiment, Metric
from looper.proposal import relative

#: How a verdict is coloured, in names that both rich and click know.
COLOURS = {
    "keep": "green",
    "discard": "bright_black",
    "crash": "red",
    "timeout": "yellow",
    "invalid": "magenta",
    "duplicate": "bright_black",
    "stale": "bright_black",
}


def number(value: float) -> str:
    """A metric for people: six significant digits."""
    return f"{value:.6g}"


def value_of(experiment: Experiment, metric: Metric) -> float | None:
    """The metric of an experiment, None when it has none."""
    return experiment.metrics.get(metric.name)


def change(experiment: Experiment, metric: Metric) -> str:
    """How the metric moved against the champion of that moment, such as ``-1.20%``; empty when there is nothing
    to compare."""
    value = value_of(experiment, metric)
    if value is None or experiment.gain is None:
        return ""
    return relative(before(value, experiment.gain, metric), value)


def before(value: float, gain: float, metric: Metric) -> float:
    """The value over which ``value`` is a gain of ``gain``."""
    return value + gain if metric.direction == "min" else value - gain


def said(experiment: Experiment) -> str:
    """The hypothesis, and for an experiment without a metric also why; one clean line."""
    text = one_line(experiment.hypothesis)
    if experiment.status == "ok" or not experiment.reason:
        return text
    return f"{text} ({one_line(experiment.reason)})"


def progress_of(baseline: float, best: float, metric: Metric) -> str:
    """From the baseline to the best, such as ``loss 9 -> 0.25 (-8.75, -97.22%)``."""
    way = f"{metric.name} {number(baseline)} → {number(best)}"
    return way if baseline == best else f"{way} ({best - baseline:+.4g}, {relative(baseline, best)})"


def verdicts(history: Iterable[Experiment]) -> dict[str, int]:
    """How often each verdict was given, the most frequent first; the baseline is left out."""
    counts = Counter(str(experiment.verdict) for experiment in history if experiment.n > 0)
    return dict(counts.most_common())


def counted(counts: Mapping[str, int]) -> str:
    """Such as ``12 discard, 3 keep``."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def duration(seconds: float) -> str:
    """Such as ``45 s``, ``3 min 7 s``, ``2 h 30 min``, ``3 d 4 h``."""
    whole = int(seconds)
    for above, unit, below, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= above:
            return f"{whole // above} {unit} {whole % above // below} {part}"
    return f"{whole} s"


def plural(count: int, noun: str) -> str:
    """Such as ``1 experiment``, ``2 experiments``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
