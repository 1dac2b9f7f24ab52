"""What ``looper check`` found, for people and as plain values.

``check --json`` is one object: ``target``, ``metric`` (its name), ``ok``, ``baseline`` (``status``, ``value`` or null,
``reason``, ``total_s``, ``log``) and ``wrong``, a list of ``file``, ``tries``, ``expect``, ``ok``, ``outcome``,
``status``, ``value`` or null, ``reason``, ``total_s``. Without a working baseline, ``wrong`` is empty.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from looper import judge
from looper.evaluation.logtext import one_line
from looper.models import Budget, Measurement, Metric, Target
from looper.report.running import Watch
from looper.report.terminal import expendable, is_interactive, visible
from looper.report.words import number
from looper.runner import Progress

EVERY_S = 0.2
ERASE = "\r\x1b[2K"


@dataclass(frozen=True)
class Finding:
    """What became of one wrong candidate.

    Args:
        file, tries, expect: of the candidate.
        ok: whether it fared as expected.
        outcome: the verdict that it would get, ``scored``, ``failed`` when the evaluator itself did, or ``tampered``.
        reason: why, in a line.
        measurement: its measurement.
    """

    file: str
    tries: str
    expect: str
    ok: bool
    outcome: str
    reason: str
    measurement: Measurement


def finding(file: str, tries: str, expect: str, found: Measurement, baseline: Measurement, metric: Metric) -> Finding:
    """Hold a wrong candidate's measurement against what was expected of it and against the baseline's."""
    if found.status == "infra":
        ok, outcome, reason = False, "failed", f"the evaluator itself failed: {one_line(found.reason)}"
    elif found.status == "tampered":
        ok, outcome, reason = False, "tampered", "; ".join(found.facts["tampered"])
    elif found.status != "ok":
        ok, outcome, reason = True, judge.failure(found).verdict, one_line(found.reason)
    else:
        value, unedited = found.metrics[metric.name], baseline.metrics[metric.name]
        ok = expect == "no gain" and metric.gain(value, unedited) <= metric.min_delta
        outcome = "scored"
        reason = f"{metric.name} {number(value)}; the unedited files have {number(unedited)}"
    return Finding(file, tries, expect, ok, outcome, reason, found)


def lines(found: Finding) -> Iterator[str]:
    """Two lines: whether it was refused and how; what it tries."""
    mark = "ok" if found.ok else {"scored": "NOT REFUSED", "failed": "FAILED", "tampered": "TAMPERED"}[found.outcome]
    if found.outcome == "scored" and found.expect == "no gain":
        mark = "ok" if found.ok else "A GAIN"
    yield f"{mark:<11}  {found.file}  {found.outcome}: {found.reason}"
    if found.tries:
        yield f"{'':<11}  tries: {found.tries}"


def baseline_lines(target: Target, baseline: Measurement) -> Iterator[str]:
    """How the unedited files fared, with the end of their log when they did not run."""
    if baseline.status == "ok":
        value, seconds = baseline.metrics[target.metric.name], baseline.timings["total_s"]
        yield f"{'ok':<11}  the unedited files: {target.metric.name} {number(value)} in {seconds:.1f} s"
        return
    yield f"{'FAILED':<11}  the unedited files have no score ({baseline.status}): {one_line(baseline.reason)}"
    yield from (f"{'':<11}  │ {visible(line)}" for line in baseline.log)


def summary(baseline: Measurement, findings: list[Finding]) -> str:
    """One line, with the next step where there is one."""
    if baseline.status != "ok":
        return "The target does not work as it is: mend that first."
    if not findings:
        return "There is nothing in wrong/: add candidates that cheat or break, one file each, to see them refused."
    if findings[-1].outcome == "tampered":
        return f"{findings[-1].file} changed files that scores rest on. Mend those; nothing was measured after it."
    bad = [found.file for found in findings if not found.ok]
    if not bad:
        return f"All {len(findings)} wrong candidates are refused."
    return f"{len(bad)} of {len(findings)} wrong candidates were not refused: look at {', '.join(bad)}."


def plain(target: Target, baseline: Measurement, findings: list[Finding], ok: bool) -> dict[str, Any]:
    """The whole result; see the module's text."""

    def score(measurement: Measurement) -> dict[str, Any]:
        return {
            "status": measurement.status,
            "value": measurement.metrics.get(target.metric.name),
            "total_s": measurement.timings.get("total_s"),
        }

    return {
        "target": target.name,
        "metric": target.metric.name,
        "ok": ok,
        "baseline": {**score(baseline), "reason": baseline.reason, "log": list(baseline.log)},
        "wrong": [
            {
                "file": found.file,
                "tries": found.tries,
                "expect": found.expect,
                "ok": found.ok,
                "outcome": found.outcome,
                **score(found.measurement),
                "reason": found.reason,
            }
            for found in findings
        ],
    }


class Ticker:
    """One line on the terminal that tells what is running; nothing where there is no terminal."""

    def __init__(self, budget: Budget, total: int) -> None:
        self._watch, self._total = Watch(budget), total
        self._on = sys.stderr is not None and is_interactive(sys.stderr)
        self._drawn_at = 0.0

    def tick(self, running: list[Progress], done: int) -> None:
        now = time.monotonic()
        if self._on and now - self._drawn_at >= EVERY_S:
            self._drawn_at = now
            text = "; ".join(" ".join(line.split()) for line in self._watch.lines(running, bar=False))
            width = shutil.get_terminal_size().columns - 1
            self._write(ERASE + f"{done} of {self._total} measured; now {text}"[:width])

    def erase(self) -> None:
        """Make room for a line that stays."""
        if self._on:
            self._write(ERASE)

    def _write(self, text: str) -> None:
        with expendable(sys.stderr):
            sys.stderr.write(text)
            sys.stderr.flush()
