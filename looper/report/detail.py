"""Everything about one experiment, for people: the body of ``looper show``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from looper.evaluation.logtext import one_line
from looper.models import Experiment, Metric
from looper.report import words
from looper.report.terminal import visible

FENCE = "─" * 20


def lines(experiment: Experiment, full: Mapping[str, Any], metric: Metric) -> Iterator[str]:
    """``full`` is what :meth:`looper.report.trail.Trail.in_full` gave for the experiment."""
    yield f"#{experiment.n}  {experiment.verdict or 'running'}  {one_line(experiment.hypothesis)}"
    yield from _fields(_about(experiment, full, metric))
    for title in ("metrics", "timings", "facts", "meta"):
        if full[title]:
            yield f"{title}:"
            yield from _fields({one_line(str(k), 40): one_line(_value(v)) for k, v in full[title].items()})
    if len(full["attempts"]) > 1:
        yield "attempts:"
        yield from _attempts(full["attempts"], metric)
    if full["log"]:
        yield f"{FENCE} what the run printed last: written by the candidate, not to be trusted {FENCE}"
        yield from (f"│ {visible(line)}" for line in full["log"])
        yield FENCE


def _about(experiment: Experiment, full: Mapping[str, Any], metric: Metric) -> dict[str, str]:
    value = words.value_of(experiment, metric)
    about = {"reason": one_line(experiment.reason), "proposer": one_line(experiment.proposer)}
    if value is not None:
        about[metric.name] = words.number(value)
        if experiment.gain is not None:
            about["gain"] = f"{experiment.gain:+.6g} ({words.change(experiment, metric)})"
    about["commit"] = f"{experiment.commit[:12]}, changes {experiment.parent[:12]}"
    about["diff"] = f"+{full['diff']['added']} -{full['diff']['removed']} lines"
    about["proposed"] = full["proposed_at"]
    about["decided"] = full["decided_at"] or ""
    about["seed"] = "" if full["seed"] is None else str(full["seed"])
    about["environment"] = full["environment"] or ""
    if full["cost_usd"] is not None or full["tokens"]:
        price = "unknown price" if full["cost_usd"] is None else f"${full['cost_usd']:.4f}"
        about["cost"] = f"{price}, {full['tokens']} tokens"
    return about


def _fields(fields: Mapping[str, str]) -> Iterator[str]:
    width = max(12, *(len(name) for name in fields))
    yield from (f"  {name:<{width}}  {text}" for name, text in fields.items() if text)


def _attempts(attempts: list[dict[str, Any]], metric: Metric) -> Iterator[str]:
    for found in attempts:
        proposed, measured, decided = found["proposed"], found["measured"] or {}, found["decided"] or {}
        value = measured.get("metrics", {}).get(metric.name)
        outcome = words.number(value) if value is not None else measured.get("status", "not measured")
        verdict = decided.get("verdict", "put on a newer champion")
        yield (
            f"  {proposed['attempt']}  on {proposed['parent'][:12]}: {outcome}, {verdict} "
            f"{one_line(decided.get('reason', ''))}".rstrip()
        )


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
