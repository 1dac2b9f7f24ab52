"""Everything that a ledger says of each experiment, in plain values; what the reading commands print.

An experiment, in ``log --json``, in ``status --json`` under ``last`` and in ``show --json``:

    n, attempt            its number; above 1 after it was put on a newer champion
    verdict, reason       null and empty while it is running
    status                how its measurement ended; null before it was measured
    value, gain           the metric, and by how much it beat the champion of that moment (positive is better); or null
    proposer, hypothesis  who suggested it and why
    parent, commit, head  commits: the champion that it changes, the candidate, the champion after the verdict
    proposed_at, decided_at  UTC, ISO 8601; the latter null while it is running
    total_s, peak_memory_mb  of its measurement, or null
    cost_usd, tokens      of its proposal; cost is null when unknown
    diff                  lines added and removed
    environment           twelve digits: measurements are comparable where they are equal; or null

``show --json`` adds ``metrics``, ``timings``, ``facts``, ``seed``, ``meta``, ``log`` and ``attempts``, a list of
every attempt's own ``proposed``, ``measured`` and ``decided`` events (the latter two null where there was none).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from looper.errors import SessionError
from looper.models import Experiment, Metric
from looper.record import Record

Event = Mapping[str, Any]


@dataclass
class Attempt:
    """The events of one try at an experiment."""

    proposed: Event
    measured: Event | None = None
    decided: Event | None = None


@dataclass
class Trail:
    """A session's record, and the events that it was made from.

    Attributes:
        record: what the session came to.
        openings: every ``opened`` event; a session has one for each time it was started.
        attempts: by number of the experiment, oldest first.
        times: when each event was written.
    """

    record: Record = field(default_factory=Record)
    openings: list[Event] = field(default_factory=list)
    attempts: dict[int, list[Attempt]] = field(default_factory=dict)
    times: list[tuple[str, datetime]] = field(default_factory=list)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Trail:
        """Take in a whole ledger.

        Raises:
            LedgerError: when the events do not follow from each other.
        """
        trail = cls()
        for event in events:
            trail.record.apply(event)
            trail.times.append((event["event"], datetime.fromisoformat(event["at"])))
            trail._take(event)
        return trail

    def _take(self, event: Event) -> None:
        match event["event"]:
            case "opened":
                self.openings.append(event)
            case "proposed":
                self.attempts.setdefault(event["n"], []).append(Attempt(event))
            case "measured":
                self.attempts[event["n"]][-1].measured = event
            case "decided":
                self.attempts[event["n"]][-1].decided = event

    @property
    def metric(self) -> Metric:
        """The session's metric.

        Raises:
            SessionError: when the session was never opened.
        """
        if not self.record.opened:
            raise SessionError("The ledger is empty: the session ended before it began. Run the same command again.")
        return Metric(**self.record.opened["identity"]["target"]["metric"])

    def experiments(self) -> list[Experiment]:
        """Every experiment: the decided ones in the order of their verdicts, then the running ones."""
        return [*self.record.history, *(self.record.pending[n] for n in sorted(self.record.pending))]

    def experiment(self, n: int) -> Experiment:
        """The latest state of experiment ``n``.

        Raises:
            SessionError: when there is no such experiment.
        """
        for experiment in reversed(self.experiments()):
            if experiment.n == n:
                return experiment
        there = f"they go from 0 to {self.record.next_n - 1}" if self.record.next_n else "there is none yet"
        raise SessionError(f"There is no experiment {n} in this session; {there}. See them with: looper log")

    def attempt(self, experiment: Experiment) -> Attempt:
        """The events behind this state of an experiment."""
        return next(a for a in self.attempts[experiment.n] if a.proposed["attempt"] == experiment.attempt)

    def plain(self, experiment: Experiment) -> dict[str, Any]:
        """An experiment in plain values; see the module's text."""
        proposed, measured, decided = self._events(experiment)
        return {
            "n": experiment.n,
            "attempt": experiment.attempt,
            "verdict": experiment.verdict,
            "reason": experiment.reason,
            "status": experiment.status,
            "value": experiment.metrics.get(self.metric.name),
            "gain": experiment.gain,
            "proposer": experiment.proposer,
            "hypothesis": experiment.hypothesis,
            "parent": experiment.parent,
            "commit": experiment.commit,
            "head": experiment.head or None,
            "proposed_at": proposed["at"],
            "decided_at": decided.get("at"),
            "total_s": measured.get("timings", {}).get("total_s"),
            "peak_memory_mb": measured.get("facts", {}).get("peak_memory_mb"),
            "cost_usd": proposed["cost_usd"],
            "tokens": proposed["tokens"],
            "diff": proposed["diff"],
            "environment": measured.get("environment"),
        }

    def in_full(self, experiment: Experiment) -> dict[str, Any]:
        """An experiment with everything that is known of it; see the module's text."""
        _, measured, _ = self._events(experiment)
        return {
            **self.plain(experiment),
            "metrics": dict(experiment.metrics),
            "timings": measured.get("timings", {}),
            "facts": measured.get("facts", {}),
            "seed": measured.get("seed"),
            "meta": dict(experiment.meta),
            "log": measured.get("log", []),
            "attempts": [
                {"proposed": a.proposed, "measured": a.measured, "decided": a.decided}
                for a in self.attempts[experiment.n]
            ],
        }

    def _events(self, experiment: Experiment) -> tuple[Event, Event, Event]:
        attempt = self.attempt(experiment)
        return attempt.proposed, attempt.measured or {}, attempt.decided or {}

    def active_s(self) -> float:
        """Seconds during which the session was open, so far as the ledger tells."""
        return sum((b[1] - a[1]).total_seconds() for a, b in pairwise(self.times) if b[0] != "opened")

    def cost(self) -> tuple[float | None, int]:
        """US dollars (None when no price is known) and tokens of all proposals."""
        proposals = [attempts[0].proposed for attempts in self.attempts.values()]
        prices = [p["cost_usd"] for p in proposals if p["cost_usd"] is not None]
        return (sum(prices) if prices else None), sum(p["tokens"] for p in proposals)
