"""Replaying what another session kept, by its tag."""

from __future__ import annotations

from pathlib import Path

from tests.projects import NAME, Project


def test_the_keeps_of_a_session_are_replayed_by_its_tag(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.run(experiments=6)  # number 1 and 6 are better
    asked = ("run", str(project.target), "--proposer", "replay", "--from", NAME, "--tag", "again")
    project.looper(*asked, status=0)
    first, again = project.record(), project.record("again")
    assert [e.hypothesis for e in again.history] == ["baseline", "closer", "closer"]
    assert [e.verdict for e in again.history] == ["keep"] * 3
    assert [e.metrics for e in again.kept()] == [e.metrics for e in first.kept()]
    assert project.git("diff", f"looper/{NAME}", "looper/again") == ""


def test_a_session_that_kept_nothing_and_one_that_is_not_there(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.run(experiments=0)
    asked = ("run", str(project.target), "--proposer", "replay", "--tag", "again", "--from")
    assert "kept nothing, so there is nothing to replay" in project.looper(*asked, NAME, status=2).stderr
    assert "no folder nowhere of patches, nor a session" in project.looper(*asked, "nowhere", status=2).stderr
