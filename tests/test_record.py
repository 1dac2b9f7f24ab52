"""The record: the one reading of a ledger, in memory and on resuming."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from looper.errors import LedgerError
from looper.ledger import Ledger, read
from looper.record import FORMAT, Record


def opened(base: str = "b0", environment: str = "here") -> dict[str, Any]:
    return {"event": "opened", "format": FORMAT, "base": base, "environment": environment, "identity": {}}


def proposed(n: int, attempt: int = 1, parent: str = "b0") -> dict[str, Any]:
    return {
        "event": "proposed", "n": n, "attempt": attempt, "parent": parent, "commit": f"c{n}.{attempt}",
        "tree": f"t{n}.{attempt}", "proposer": "p", "hypothesis": f"h{n}", "meta": {"n": n},
    }  # fmt: skip


def measured(n: int, loss: float) -> dict[str, Any]:
    return {
        "event": "measured", "n": n, "status": "ok", "metrics": {"loss": loss}, "reason": "", "seed": 1,
        "timings": {}, "facts": {}, "log": ["a line"],
    }  # fmt: skip


def decided(n: int, verdict: str, head: str, gain: float | None = None) -> dict[str, Any]:
    return {"event": "decided", "n": n, "verdict": verdict, "reason": "", "gain": gain, "head": head}


BASELINE = [opened(), proposed(0), measured(0, 5.0), decided(0, "keep", "b0")]


def test_a_session_in_memory() -> None:
    record = Record.of(
        [*BASELINE, proposed(1), proposed(2), measured(2, 4.0), decided(2, "keep", "k2", 1.0), measured(1, 3.0),
         proposed(1, 2, "k2"), measured(1, 2.0)]
    )  # fmt: skip
    assert record.next_n == 3
    assert [each.n for each in record.history] == [0, 2]
    assert record.champion is record.history[1] is record.with_head("k2")
    assert record.baseline is record.history[0]
    assert (record.pending[1].attempt, record.pending[1].metrics) == (2, {"loss": 2.0})
    assert record.measured[1].metrics == {"loss": 2.0}
    assert record.heads() == {"b0", "k2"}
    assert [record.first_with_tree(tree) for tree in ("t1.1", "t1.2", "t2.1", "t3.1")] == [1, 1, 2, None]


def test_a_new_attempt_has_not_been_measured() -> None:
    record = Record.of([*BASELINE, proposed(1), measured(1, 3.0), proposed(1, 2)])
    assert not record.measured
    assert record.pending[1].status is None


def test_a_baseline_of_what_was_mended_since_is_dropped() -> None:
    for later in (opened(base="b1"), opened(environment="there")):
        record = Record.of([opened(), proposed(0), measured(0, 5.0), later])
        assert (record.pending, record.measured, record.baselines) == ({}, {}, 1)
        assert record.opened == later
    record = Record.of([opened(), proposed(0), measured(0, 5.0), opened()])
    assert list(record.measured) == [0]


def test_a_resumed_session_is_what_it_was_opened_as() -> None:
    record = Record.of([*BASELINE, {"event": "closed", "reason": "enough"}, opened(base="b1")])
    assert record.opened["base"] == "b0"
    assert record.closed == ""


@pytest.mark.parametrize(
    "wrong",
    [
        proposed(2),
        proposed(0),
        measured(1, 1.0),
        decided(1, "keep", "k1"),
        decided(0, "keep", "b0"),
        {"event": "decided", "n": 0},
        {"event": "of"},
        {**opened(), "format": FORMAT + 1},
    ],
)
def test_what_does_not_follow_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LedgerError, match="does not follow"):
        Record.of([*BASELINE, wrong])


def trips(first: int, last: int) -> Iterator[dict[str, Any]]:
    for n in range(first, last):
        yield proposed(n)
        yield measured(n, float(n))
        yield decided(n, "discard", "b0", -1.0)


def steps(record: Record, events: list[dict[str, Any]]) -> int:
    """Lines of record.py that taking in these events executes: a cost that no busy machine can change."""
    count = 0
    here = Record.apply.__code__.co_filename  # not what a garbage collection runs in between

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != here:
            return None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        for event in events:
            record.apply(event)
    finally:
        sys.settrace(None)
    return count


def test_ten_thousand_experiments_cost_no_more_each(tmp_path: Path) -> None:
    small, large = Record.of([*BASELINE, *trips(1, 10)]), Record.of([*BASELINE, *trips(1, 10_000)])
    assert steps(large, list(trips(10_000, 10_050))) == steps(small, list(trips(10, 60)))
    assert len(large.history) == 10_050


def test_a_ledger_grows_by_what_is_appended(tmp_path: Path) -> None:
    sizes = []
    with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
        for event in (*BASELINE, *trips(1, 200)):
            ledger.append(**event)
            sizes.append(ledger.path.stat().st_size)
    growth = [after - before for before, after in itertools.pairwise(sizes[4:])]
    assert max(growth[-3:]) <= max(growth[:3]) + 20  # longer numbers, no more
    assert Record.of(read(ledger.path)).history == Record.of([*BASELINE, *trips(1, 200)]).history
