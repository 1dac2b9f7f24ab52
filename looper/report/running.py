"""A running experiment as one line: phase, share of the budget used, what it claims about itself."""

from __future__ import annotations

import time

from looper.evaluation.logtext import one_line
from looper.models import Budget
from looper.runner import Progress

BAR = 10
CLAIMS = 3  # live values shown


class Watch:
    """Follows running experiments, so that time passes on the screen between their own reports."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._since: dict[tuple[int, str], float] = {}  # (slot, phase) -> when it began

    def lines(self, running: list[Progress], bar: bool) -> list[str]:
        """One line for each, ``bar`` with a bar for the share of the budget that is used."""
        now = time.monotonic()
        keys = {(progress.slot, progress.phase): progress.started for progress in running}
        self._since = {key: max(self._since.get(key, now), started) for key, started in keys.items()}
        return [self._line(progress, now, bar) for progress in running]

    def _line(self, progress: Progress, now: float, bar: bool) -> str:
        allowed = float(getattr(self._budget, f"{progress.phase}_s", 0.0))
        used = now - self._since[progress.slot, progress.phase]
        if progress.phase == "run" and self._budget.clock == "cpu" and progress.used_s:
            used = progress.used_s
        used = min(used, allowed) if allowed else used
        share = round(BAR * used / allowed) if allowed else 0
        parts = [f"{f'#{progress.experiment.n}':>5}", f"slot {progress.slot}", f"{progress.phase:<5}"]
        if bar:
            parts.append("━" * share + "─" * (BAR - share))
        parts.append(f"{used:.{0 if allowed >= 10 else 1}f}/{allowed:g} s" if allowed else f"{used:.0f} s")
        claims = list(progress.values.items())[:CLAIMS]
        parts += [f"{one_line(name, 20)} {value:.4g}" for name, value in claims]
        return "  ".join([*parts, one_line(progress.experiment.hypothesis)])
