"""What a session has come to, worked out from its ledger and from nothing else.

The same code follows a running session and rebuilds one after a crash: there is no second source of truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any

from looper.errors import LedgerError
from looper.models import Experiment, Measurement

FORMAT = 2  # of the ledger


class Record:
    """The state after a sequence of ledger events.

    Attributes:
        opened: the ``opened`` event of the baseline, which says what the session is; empty before it.
        history: decided experiments, in the order of their verdicts.
        pending: experiments without a verdict, by number.
        measured: measurements of pending experiments that have one, by number.
        champion: the experiment at the head of the branch, None before the baseline.
        closed: reason of the last ``closed`` event, empty while open.
        baselines: how often the baseline was put on record: until one has a score, the target may be mended.
    """

    def __init__(self) -> None:
        self.opened: Mapping[str, Any] = {}
        self.history: list[Experiment] = []
        self.pending: dict[int, Experiment] = {}
        self.measured: dict[int, Measurement] = {}
        self.champion: Experiment | None = None
        self.closed = ""
        self.baselines = 0
        self._count = 0
        self._bases: set[str] = set()
        self._trees: dict[str, int] = {}
        self._by_head: dict[str, Experiment] = {}

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> Record:
        """The record of a whole ledger.

        Raises:
            LedgerError: when the events do not follow from each other.
        """
        record = cls()
        for event in events:
            record.apply(event)
        return record

    @property
    def next_n(self) -> int:
        """Number of the next experiment; the baseline is 0."""
        return self._count

    @property
    def baseline(self) -> Experiment | None:
        """Experiment 0, once it was measured."""
        return next(iter(self._by_head.values()), None)

    def first_with_tree(self, tree: str) -> int | None:
        """Number of the first experiment with these very files, None when there is none."""
        return self._trees.get(tree)

    def with_head(self, commit: str) -> Experiment:
        """The kept experiment whose commit on the branch is ``commit``."""
        return self._by_head[commit]

    def heads(self) -> Set[str]:
        """Every commit that the branch was on at some time."""
        return self._by_head.keys() | self._bases

    def kept(self) -> list[Experiment]:
        """Every keep, the baseline among them, oldest first."""
        return list(self._by_head.values())

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take in one event.

        Raises:
            LedgerError: when it does not follow from what came before.
        """
        try:
            getattr(self, f"_{event['event']}")(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LedgerError(
                f"The ledger has a {event.get('event')!r} event that does not follow from the ones before it "
                f"({error!r}). It was written by another version of looper, or damaged."
            ) from error

    def _opened(self, event: Mapping[str, Any]) -> None:
        if event["format"] != FORMAT:
            raise ValueError(f"format {event['format']}")
        if self.champion is None:
            if self.opened and any(self.opened[key] != event[key] for key in ("base", "environment")):
                self.pending.clear()  # a baseline of what has been mended since
                self.measured.clear()
            self.opened = event
            self._bases.add(event["base"])
        self.closed = ""

    def _closed(self, event: Mapping[str, Any]) -> None:
        self.closed = event["reason"]

    def _proposed(self, event: Mapping[str, Any]) -> None:
        n = event["n"]
        if n != self._count and n not in self.pending and not (n == 0 and self.champion is None):
            raise ValueError(f"experiment {n} after {self._count - 1}")
        self.pending[n] = Experiment(
            n=n,
            attempt=event["attempt"],
            parent=event["parent"],
            commit=event["commit"],
            tree=event["tree"],
            proposer=event["proposer"],
            hypothesis=event["hypothesis"],
            meta=event["meta"],
        )
        self.measured.pop(n, None)
        self._trees.setdefault(event["tree"], n)
        self._count = max(self._count, n + 1)
        self.baselines += n == 0

    def _measured(self, event: Mapping[str, Any]) -> None:
        n = event["n"]
        self.measured[n] = measurement = Measurement(
            status=event["status"],
            metrics=event["metrics"],
            reason=event["reason"],
            seed=event["seed"],
            timings=event["timings"],
            facts=event["facts"],
        )  # the log stays in the ledger: it is only for those who look
        self.pending[n] = replace(self.pending[n], status=measurement.status, metrics=measurement.metrics)

    def _decided(self, event: Mapping[str, Any]) -> None:
        n = event["n"]
        experiment = replace(
            self.pending.pop(n),
            verdict=event["verdict"],
            reason=event["reason"],
            gain=event["gain"],
            head=event["head"],
        )
        self.measured.pop(n, None)
        self.history.append(experiment)
        if experiment.verdict == "keep":
            self.champion = self._by_head[experiment.head] = experiment
