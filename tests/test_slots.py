"""Experiments at once: a verdict is against the champion of its moment, and a late change moves to that champion."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripted import POINT, Scripted

# In each of these, experiment 1 is the slow one: it ends only after number 2 has its verdict.


def run(project: Scripted, slots: int = 2) -> None:
    project.looper("run", str(project.target), "--proposer", "steps", "--slots", str(slots), status=0)


def test_an_overtaken_change_is_merged_and_measured_again(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 5, "after": 2}, {"b": 3}])
    run(project)
    assert project.verdicts() == [(1, 2, "keep"), (2, 1, "keep")]
    assert project.point() == POINT.replace("a=10", "a=5").replace("b=10", "b=3").replace("after=", "after=2")
    record = project.record()
    first = next(each for each in record.history if each.n == 1)
    second = next(each for each in record.history if each.n == 2)
    assert (second.metrics["loss"], second.gain) == (13.0, 7.0)
    assert (first.metrics["loss"], first.gain) == (8.0, 5.0)
    assert first.parent == second.head
    measured = [(event["n"], event["metrics"]["loss"]) for event in project.events() if event["event"] == "measured"]
    assert measured == [(0, 20.0), (2, 13.0), (1, 15.0), (1, 8.0)]
    # the second attempt is the one that can be checked out, on top of what it was measured on
    assert project.git("rev-parse", "refs/looper/bowl/tried/1^").strip() == second.head


def test_a_change_of_the_same_place_is_stale(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 5, "after": 2}, {"a": 3}])
    run(project)
    assert project.verdicts() == [(1, 1, "stale"), (2, 1, "keep")]
    assert "experiment 2" in next(each.reason for each in project.record().history if each.n == 1)


def test_a_proposer_may_reapply_what_a_merge_cannot(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 2, "after": 2}, {"a": 3, "b": 9}], reapply=True)
    run(project)
    assert project.verdicts() == [(1, 2, "keep"), (2, 1, "keep")]
    assert project.point() == POINT.replace("a=10", "a=2").replace("b=10", "b=9").replace("after=", "after=2")


def test_an_overtaken_change_that_brought_nothing_is_not_measured_again(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 11, "after": 2}, {"b": 3}])
    run(project)
    assert project.verdicts() == [(1, 1, "discard"), (2, 1, "keep")]
    late = next(each for each in project.record().history if each.n == 1)
    assert late.gain == -8.0  # 21 against the 13 of the champion of its moment


def test_a_change_that_holds_all_that_the_new_champion_has_needs_no_second_measurement(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 2, "b": 3, "after": 2}, {"b": 3}])
    run(project)
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "keep")]
    assert project.point() == POINT.replace("a=10", "a=2").replace("b=10", "b=3").replace("after=", "after=2")


def test_a_change_that_was_tried_on_the_new_champion_already_is_a_duplicate(tmp_path: Path) -> None:
    # 3 is worse than 2 on its champion, and is what 1 becomes there
    project = Scripted(tmp_path, [{"a": 9, "after": 3}, {"b": 3}, {"a": 9, "after": 3}])
    project.edit("evaluate.py", "    if point", "    if point['b'] == '3' and point['a'] == '9':\n"
                 "        return run.report(loss=100.0)\n    if point")  # fmt: skip
    project.edit("evaluate.py", 'point["after"] and', 'point["after"] and point["b"] == "10" and')
    run(project)
    assert project.verdicts() == [(1, 1, "duplicate"), (2, 1, "keep"), (3, 1, "discard")]


def test_a_change_that_is_overtaken_again_and_again_ends_as_stale(tmp_path: Path) -> None:
    # Its evaluation on every champion outlasts that champion: number n + 1 is kept while it runs.
    moves = [{"b": 1, "after": 2}, {"a": 9}, {"a": 8}, {"a": 7}, {"a": 6}]
    project = Scripted(tmp_path, moves)
    project.edit("evaluate.py", "    while", "    if point['b'] == '1' and point['a'] != '10':\n"
                 "        point['after'] = str(12 - int(point['a']))\n    while")  # fmt: skip
    run(project)
    assert project.verdicts()[0] == (1, 3, "stale")
    assert [verdict for _, _, verdict in project.verdicts()[1:]] == ["keep"] * 4


def test_what_many_slots_left_behind_is_taken_up_by_one(tmp_path: Path) -> None:
    # 1 was measured but not ruled on, and what it changed has been overtaken: it needs the one slot itself.
    project = Scripted(tmp_path, [{"a": 5, "after": 2}, {"b": 3}, {"after": 99}, {"after": 98}])
    process = project.start_run("--slots", "4")
    project.wait_for("measured", 3)
    project.wait_for("proposed", 5)
    process.kill()
    process.wait()
    lines = project.ledger().read_bytes().splitlines(keepends=True)
    measured = [number for number, event in enumerate(project.events()) if event["event"] == "measured"]
    project.ledger().write_bytes(b"".join(lines[: measured[2] + 1]))
    assert sorted(project.record().pending) == [1, 3, 4]
    for gate in ("98", "99"):
        (tmp_path / "ended" / gate).touch()
    run(project, slots=1)
    assert project.verdicts() == [(1, 2, "keep"), (2, 1, "keep"), (3, 1, "discard"), (4, 1, "discard")]


@pytest.mark.parametrize("slots", [1, 3])
def test_every_slot_is_used(tmp_path: Path, slots: int) -> None:
    # number n waits for n + 1, which only runs if there is a slot for it; the last of each batch waits for none
    moves = [{"a": 20 + n, "after": n + 1 if n % slots else ""} for n in range(1, 7)]
    project = Scripted(tmp_path, moves)
    run(project, slots)
    facts = [event["facts"] for event in project.events() if event["event"] == "measured"]
    assert {fact["slot"] for fact in facts} == set(range(slots))
    assert len(facts) == 7
