"""How fast a session goes and how long it may take; what a view's last line says."""

from __future__ import annotations

import time

from looper.models import Experiment, Metric
from looper.proposal import relative
from looper.record import Record
from looper.report import words
from looper.stop import Request


class Pace:
    """Counts what was decided since it was made."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._began = time.monotonic()
        self._decided = 0
        self._experiments = 0  # without the baseline

    def decided(self, experiment: Experiment) -> None:
        self._decided += 1
        self._experiments += experiment.n > 0

    def status(self, record: Record, metric: Metric, ended: bool = False) -> str:
        """Experiments so far, keeps, best, rate, time gone and, where a limit was given, time left."""
        elapsed = time.monotonic() - self._began
        done = words.plural(self._experiments, "experiment")
        if self._request.experiments is not None:
            done = f"{self._experiments} of {words.plural(self._request.experiments, 'experiment')}"
        parts = [done, f"{max(len(record.kept()) - 1, 0)} kept"]
        if record.champion and record.baseline:
            best, baseline = record.champion.metrics[metric.name], record.baseline.metrics[metric.name]
            parts.append(f"best {words.number(best)}")
            if best != baseline:
                parts[-1] += f" ({relative(baseline, best)})"
        if self._experiments:
            parts.append(f"{self._decided / elapsed * 3600:.0f} an hour")
        parts.append(words.duration(elapsed))
        left = self._left(elapsed)
        if left is not None and not ended:
            parts.append(f"about {words.duration(left)} left")
        return " · ".join(parts)

    def _left(self, elapsed: float) -> float | None:
        """Seconds until a limit that the user gave, None when there is none or no rate yet."""
        limits = []
        if self._request.hours is not None:
            limits.append(self._request.hours * 3600 - elapsed)
        if self._request.experiments is not None and self._decided:
            remaining = self._request.experiments - self._experiments
            limits.append(remaining * elapsed / self._decided)
        return max(min(limits), 0.0) if limits else None
