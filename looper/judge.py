"""Measurements to verdicts. Pure: no I/O, no state."""

from __future__ import annotations

from looper.hookspecs import hookimpl
from looper.models import Decision, Experiment, Measurement, Metric, Status, Target, Verdict

VERDICT_OF_FAILURE: dict[Status, Verdict] = {
    "crash": "crash",
    "oom": "crash",
    "nan": "crash",
    "infra": "crash",
    "timeout": "timeout",
    "invalid": "invalid",
    "tampered": "invalid",
}


@hookimpl(trylast=True)
def looper_judge(target: Target, champion: Experiment, measurement: Measurement) -> Decision:
    """Strict improvement: keep what is better than the champion by more than the metric's ``min_delta``."""
    gain = gain_over(target.metric, champion, measurement)
    if gain > target.metric.min_delta:
        return Decision("keep", "better than the champion", gain)
    if gain > 0:
        return Decision("discard", f"better by less than {target.metric.min_delta:g}", gain)
    return Decision("discard", "not better than the champion", gain)


def gain_over(metric: Metric, champion: Experiment, measurement: Measurement) -> float:
    """How much better an ``ok`` measurement is than the champion's; positive is better."""
    return metric.gain(measurement.metrics[metric.name], champion.metrics[metric.name])


def failure(measurement: Measurement) -> Decision:
    """The verdict on a measurement without a metric."""
    return Decision(VERDICT_OF_FAILURE[measurement.status], measurement.reason)
