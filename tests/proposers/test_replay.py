from __future__ import annotations

import dataclasses
import logging
import subprocess
import tempfile
from pathlib import Path

import pytest

from looper.errors import ProposerError
from looper.models import Budget, Context, Experiment, Metric, Proposal, Target
from looper.proposers import replay
from looper.proposers.replay import Replay, from_commits, load_folder

LINES = [f"line {i}\n" for i in range(30)]
START = "".join(LINES)
BASE = Experiment(0, 1, "base", "base", "t0", "baseline", "", {}, {"loss": 1.0}, "ok", "keep", head="base")
TARGET = Target("written", Path("."), ("train.py", "lib/ops.py"), Metric("loss"), Budget(1))


def edited(text: str, *changes: tuple[int, str]) -> str:
    for i, new in changes:
        text = text.replace(f"line {i}\n", f"{new}\n")
    return text


def diff(old: str, new: str, path: str = "train.py", prefix: str = "") -> bytes:
    """What ``git diff`` writes for a file in a real repository."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, prefix, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(old.encode())
        for command in ("init -q", "add .", "-c user.name=a -c user.email=a@example.org commit -qm start"):
            subprocess.run(["git", *command.split()], cwd=name, check=True)
        file.write_bytes(new.encode())
        return subprocess.run(["git", "diff"], cwd=name, check=True, capture_output=True).stdout


def propose(proposer: Replay, text: str, *past: Experiment, pending: tuple[Experiment, ...] = ()) -> Proposal | None:
    """``text`` stands for the champion that the last of ``past`` left."""
    files = {"train.py": text, "lib/ops.py": "OPS = 1\n"}
    champion = dataclasses.replace(past[-1] if past else BASE, head=str(hash(text)))
    return proposer.propose(Context(TARGET, files, champion, [BASE, *past], pending))


def experiment(proposal: Proposal | None, n: int = 1, verdict: str | None = "discard") -> Experiment:
    assert proposal is not None
    return Experiment(
        n, 1, "base", f"c{n}", f"t{n}", "replay", proposal.hypothesis, proposal.meta, verdict=verdict, head="base"
    )  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "patches").mkdir()
    return tmp_path / "patches"


def test_patches_are_proposed_in_name_order_each_once(folder: Path):
    (folder / "10-second.diff").write_bytes(diff(START, edited(START, (20, "twenty"))))
    (folder / "02-first.patch").write_bytes(b"Raise the rate\nand why\n\n" + diff(START, edited(START, (3, "three"))))
    (folder / "notes.txt").write_text("not a patch")
    proposer = Replay(load_folder(folder))
    first = propose(proposer, START)
    assert first is not None
    assert first.hypothesis == "Raise the rate"
    assert first.files == {"train.py": edited(START, (3, "three"))}
    second = propose(proposer, START, experiment(first))
    assert second is not None
    assert second.hypothesis == "10-second"
    assert second.files == {"train.py": edited(START, (20, "twenty"))}
    assert propose(proposer, START, experiment(first), experiment(second, 2)) is None


def test_a_resumed_session_goes_on_where_it_was_even_when_a_patch_was_added_before(folder: Path):
    (folder / "b.patch").write_bytes(diff(START, edited(START, (3, "three"))))
    (folder / "c.patch").write_bytes(diff(START, edited(START, (9, "nine"))))
    done = experiment(propose(Replay(load_folder(folder)), START))
    (folder / "a.patch").write_bytes(diff(START, edited(START, (15, "fifteen"))))
    resumed = Replay(load_folder(folder))
    a = experiment(propose(resumed, START, done), 2, None)
    c = experiment(propose(resumed, START, done, pending=(a,)), 3, None)
    assert [done.hypothesis, a.hypothesis, c.hypothesis] == ["b", "a", "c"]
    assert propose(resumed, START, done, pending=(a, c)) is None


def test_the_subject_of_a_mailed_patch_is_its_hypothesis(folder: Path):
    mail = (
        b"From 012345 Mon Sep 17 00:00:00 2001\nFrom: A <a@example.org>\nSubject: [PATCH 2/7] Warm up longer\n\n---\n"
    )
    (folder / "0002.patch").write_bytes(mail + diff(START, edited(START, (3, "three"))) + b"-- \n2.39.5\n")
    proposal = propose(Replay(load_folder(folder)), START)
    assert proposal is not None
    assert proposal.hypothesis == "Warm up longer"
    assert proposal.files == {"train.py": edited(START, (3, "three"))}


@pytest.mark.parametrize("prefix", ["", "targets/written"])
def test_paths_may_begin_at_the_target_or_at_its_repository(folder: Path, prefix: str):
    (folder / "a.patch").write_bytes(diff("OPS = 1\n", "OPS = 2\n", "lib/ops.py", prefix))
    proposal = propose(Replay(load_folder(folder)), START)
    assert proposal is not None
    assert proposal.files == {"lib/ops.py": "OPS = 2\n"}


def test_line_ends_and_a_missing_last_newline_stay(folder: Path):
    old = "é = 1\r\nB = 2\r\nC = 3"
    (folder / "a.patch").write_bytes(diff(old, old.replace("2", "5")))
    proposal = propose(Replay(load_folder(folder)), old)
    assert proposal is not None
    assert proposal.files == {"train.py": "é = 1\r\nB = 5\r\nC = 3"}


def test_a_repository_around_the_temporary_folder_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / "a.patch").write_bytes(diff(START, edited(START, (3, "three"))))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "inside"))
    proposal = propose(Replay(load_folder(folder)), START)
    assert proposal is not None
    assert proposal.files == {"train.py": edited(START, (3, "three"))}
    assert list((tmp_path / "inside").iterdir()) == []


def test_a_change_that_does_not_fit_waits_for_a_champion_that_it_fits(folder: Path):
    one, two = edited(START, (3, "three")), edited(START, (3, "THREE"))
    (folder / "1.patch").write_bytes(diff(START, one))
    (folder / "2.patch").write_bytes(diff(one, two))
    (folder / "3.patch").write_bytes(diff(START, edited(START, (20, "twenty"))))
    proposer = Replay(load_folder(folder))
    first = experiment(propose(proposer, START), 1, None)
    third = propose(proposer, START, pending=(first,))
    assert third is not None
    assert third.hypothesis == "3"
    assert third.meta["waiting"] == {"2": "the champion differs around train.py:1"}
    assert propose(proposer, START, pending=(first, experiment(third, 2, None))) is None
    second = propose(proposer, one, dataclasses.replace(first, verdict="keep"), experiment(third, 2))
    assert second is not None
    assert second.files == {"train.py": two}


def test_what_never_fitted_is_named_when_the_others_have_run_out(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / "1.patch").write_bytes(diff(START, edited(START, (3, "three"))))
    (folder / "2.patch").write_bytes(diff("something\n", "else\n"))
    (folder / "3.patch").write_bytes(diff("a\n", "b\n", "evaluate.py"))
    proposer = Replay(load_folder(folder))
    first = experiment(propose(proposer, START))
    with caplog.at_level(logging.WARNING):
        assert propose(proposer, START, first) is None
    assert "2: the champion differs around train.py:1" in caplog.text
    assert "3: it changes evaluate.py, which is not editable" in caplog.text


def test_a_session_in_which_nothing_fits_ends_with_the_reasons(folder: Path):
    (folder / "1.patch").write_bytes(diff(START, edited(START, (3, "three"))))
    proposer = Replay(load_folder(folder))
    with pytest.raises(ProposerError, match=r"None of the changes(.|\n)*1: the champion differs around train.py:1"):
        propose(proposer, edited(START, (3, "three")))


def test_a_change_that_became_stale_is_proposed_again(folder: Path):
    (folder / "1.patch").write_bytes(diff(START, edited(START, (3, "three"))))
    proposer = Replay(load_folder(folder))
    stale = experiment(propose(proposer, START), 1, "stale")
    later = edited(START, (20, "twenty"))
    again = propose(proposer, later, stale)
    assert again is not None
    assert again.files == {"train.py": edited(later, (3, "three"))}


def test_a_patch_that_removes_an_editable_file_does_not_fit(folder: Path):
    (folder / "1.patch").write_bytes(
        b"diff --git a/lib/ops.py b/lib/ops.py\ndeleted file mode 100644\n"
        b"--- a/lib/ops.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-OPS = 1\n"
    )
    with pytest.raises(ProposerError, match=r"it removes lib/ops\.py"):
        propose(Replay(load_folder(folder)), START)


def test_kept_commits_are_merged_three_ways():
    one, two = edited(START, (3, "three")), edited(START, (3, "three"), (4, "four"), (20, "twenty"))
    proposer = Replay(from_commits([("first", {"train.py": START}, {"train.py": one}),
                                    ("second", {"train.py": one}, {"train.py": two})]))  # fmt: skip
    moved = edited(START, (10, "ten"))
    first = experiment(propose(proposer, moved))
    kept = edited(one, (10, "ten"))
    second = propose(proposer, kept, first)
    assert second is not None
    assert second.hypothesis == "second"
    assert second.files == {"train.py": edited(two, (10, "ten"))}
    assert propose(proposer, edited(START, (4, "IV")), first) is None
    assert proposer.reapply(experiment(second), {"train.py": edited(START, (4, "IV"))}) is None
    assert proposer.reapply(experiment(second), {"train.py": kept}) == second.files


def test_a_commit_that_the_champion_has_already_is_passed_over():
    one = edited(START, (3, "three"))
    items = from_commits([("first", {"train.py": START}, {"train.py": one}),
                          ("other", {"lib/ops.py": "OPS = 1\n"}, {"lib/ops.py": "OPS = 3\n"})])  # fmt: skip
    proposal = propose(Replay(items), one)
    assert proposal is not None
    assert proposal.hypothesis == "other"
    assert proposal.meta == {
        "item": 1, "change": items[1].change.digest, "waiting": {"first": "the champion has it already"},
    }  # fmt: skip


def test_what_cannot_be_replayed_is_said_at_once(folder: Path):
    with pytest.raises(ProposerError, match="needs what to replay: --from"):
        replay.looper_proposer("replay", {"from": None})
    with pytest.raises(ProposerError, match="no folder nowhere"):
        replay.looper_proposer("replay", {"from": "nowhere"})
    with pytest.raises(ProposerError, match=r"holds no \.patch or \.diff file"):
        load_folder(folder)
    (folder / "a.patch").write_text("Only words.\n")
    with pytest.raises(ProposerError, match=r"a\.patch holds no diff"):
        load_folder(folder)
    (folder / "a.patch").write_bytes(diff(START, edited(START, (3, "three"))))
    assert isinstance(replay.looper_proposer("replay", {"from": str(folder)}), Replay)
    assert replay.looper_proposer("search", {}) is None
    with pytest.raises(ProposerError, match="nothing to replay"):
        Replay([])
