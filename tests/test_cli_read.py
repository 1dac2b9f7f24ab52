"""The commands that read a session, on sessions that were really run."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.projects import COMMAND, Project

READERS = (["status"], ["log"], ["show", "1"], ["diff", "1"], ["check-ledger"])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A session of seven experiments: keep, discard, crash, invalid, duplicate, keep, discard."""
    project = Project(tmp_path_factory.mktemp("read"))
    project.run("--slots", "1", experiments=7)
    return project


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tests put a damaged copy of that ledger."""
    folder = tmp_path_factory.mktemp("copy") / ".looper" / "bowl"
    folder.mkdir(parents=True)
    return folder / "ledger.jsonl"


def test_status(project: Project) -> None:
    found = project.json("status")
    assert (found["tag"], found["branch"], found["target"]) == ("bowl", "looper/bowl", "bowl")
    assert found["running"] is False
    assert found["closed"] == "7 experiments were asked for"
    assert found["baseline"]["value"] == 9.0
    assert found["champion"] == {
        "n": 6,
        "value": 0.5625,
        "commit": project.git("rev-parse", "looper/bowl").strip(),
    }
    assert (found["gain"], found["change"]) == (8.4375, "-93.75%")
    assert found["experiments"] == 7
    assert found["verdicts"] == {"keep": 2, "discard": 2, "crash": 1, "invalid": 1, "duplicate": 1}
    assert found["pending"] == []
    assert (found["cost_usd"], found["tokens"]) == (1.75, 700)
    assert found["hints"] == []
    assert [row["n"] for row in found["last"]] == [3, 4, 5, 6, 7]


def test_status_for_people(project: Project) -> None:
    text = project.looper("status", "bowl", status=0).stdout
    assert "not running (7 experiments were asked for)" in text
    assert "loss 9 → 0.5625 (-8.438, -93.75%); champion #6" in text
    assert "$1.75, 700 tokens" in text


def test_status_of_a_session_that_runs(project: Project, tmp_path: Path) -> None:
    process = project.start_run("--tag", "long", "--pause", "1.5", stdout=subprocess.DEVNULL)
    try:
        project.wait_for("proposed", tag="long")
        found = project.json("status", "long")
        assert found["running"] is True
        assert found["pending"] == [0]
        assert found["champion"] is None
        text = project.looper("status", "long", status=0).stdout
        assert "session    long, running" in text
        assert "the baseline has no score yet" in text
        assert "running    baseline" in project.looper("log", "long", status=0).stdout
    finally:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert project.json("status", "long")["running"] is False


def test_status_tells_of_another_machine(project: Project, copy: Path) -> None:
    text = project.ledger().read_text()
    opened = json.loads(text.splitlines()[0])
    opened["identity"]["machine"]["cpu"] = "Another One"
    copy.write_text(json.dumps(opened) + "\n")
    done = project.looper("status", "--repo", str(copy.parents[2]), status=0)
    assert "another machine: its cpu is Another One, here it is " in done.stdout


def test_log(project: Project) -> None:
    heading, *rows = project.looper("log", "bowl", status=0).stdout.splitlines()
    assert heading.split() == ["n", "loss", "change", "verdict", "hypothesis"]
    assert [row.split()[0] for row in rows] == [f"#{n}" for n in range(8)]
    assert rows[1].split() == ["#1", "2.25", "-75.00%", "keep", "closer"]
    assert rows[3].split()[:3] == ["#3", "crash", "break"]
    assert "ZeroDivisionError" in rows[3]


def test_log_selects(project: Project) -> None:
    assert [row["n"] for row in project.json("log", "bowl", "-n", "2")] == [6, 7]
    assert [row["n"] for row in project.json("log", "bowl", "--verdict", "keep")] == [0, 1, 6]
    assert project.json("log", "bowl", "--verdict", "stale") == []
    nothing = project.looper("log", "bowl", "--verdict", "stale", status=0)
    assert (nothing.stdout, nothing.stderr) == ("", "No experiments to show.\n")


def test_log_as_json(project: Project) -> None:
    crash = project.json("log", "bowl", "--verdict", "crash")[0]
    assert (crash["status"], crash["value"], crash["gain"]) == ("crash", None, None)
    keep = project.json("log", "bowl", "--verdict", "keep")[1]
    assert (keep["value"], keep["gain"], keep["diff"]) == (2.25, 6.75, {"added": 1, "removed": 1})
    assert keep["total_s"] > 0
    assert keep["head"] != keep["commit"] != keep["parent"]


def test_log_as_tsv_leaves_a_crash_without_a_metric(project: Project) -> None:
    lines = [line.split("\t") for line in project.looper("log", "bowl", "--tsv", status=0).stdout.splitlines()]
    assert lines[0] == ["commit", "loss", "memory_gb", "status", "description"]
    assert [line[1] for line in lines[1:]] == ["9", "2.25", "12.25", "", "", "", "0.5625", "60.0625"]
    statuses = ["keep", "keep", "discard", "crash", "crash", "discard", "keep", "discard"]
    assert [line[3] for line in lines[1:]] == statuses
    assert lines[1][0] == project.git("rev-parse", "--short=7", "main").strip()


def test_two_formats_at_once(project: Project) -> None:
    assert "give one of them" in project.looper("log", "--tsv", "--json", status=2).stderr


def test_show(project: Project) -> None:
    text = project.looper("show", "1", "--tag", "bowl", status=0).stdout
    for part in ("#1  keep  closer", "loss          2.25", "+6.75 (-75.00%)", "+1 -1 lines", "isolation", "$0.25"):
        assert part in text
    assert "│ answering" in text
    full = project.json("show", "1", "--tag", "bowl")
    assert full["metrics"] == {"loss": 2.25}
    assert full["meta"] == {"kind": "closer"}
    assert full["log"] == ["answering"]
    assert full["seed"] >= 0
    assert full["timings"]["total_s"] == full["total_s"]
    assert [attempt["decided"]["verdict"] for attempt in full["attempts"]] == ["keep"]


def test_show_of_an_experiment_that_is_not_there(project: Project) -> None:
    done = project.looper("show", "99", "--tag", "bowl", status=2)
    assert done.stderr == (
        "looper: There is no experiment 99 in this session; they go from 0 to 7. See them with: looper log\n"
    )


def test_diff_is_a_patch_that_applies(project: Project, tmp_path: Path) -> None:
    patch = project.looper("diff", "6", "--tag", "bowl", status=0).stdout
    found = project.json("show", "6", "--tag", "bowl")
    project.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"), found["parent"])
    project.git("-C", str(tmp_path / "tree"), "apply", "--index", data=patch)
    tree = project.git("-C", str(tmp_path / "tree"), "write-tree").strip()
    assert tree == project.git("rev-parse", f"{found['commit']}^{{tree}}").strip()
    project.git("worktree", "remove", "--force", str(tmp_path / "tree"))
    assert project.json("diff", "6", "--tag", "bowl")["diff"] == patch


@pytest.mark.parametrize(("n", "why"), [(0, "it is the baseline"), (5, "duplicate: the same files as experiment 1")])
def test_diff_of_what_changes_nothing(project: Project, n: int, why: str) -> None:
    done = project.looper("diff", str(n), "--tag", "bowl", status=0)
    assert (done.stdout, done.stderr) == ("", f"Experiment {n} has no change of its own ({why}).\n")


def test_whole_ledger(project: Project) -> None:
    text = project.looper("check-ledger", "bowl", status=0).stdout
    assert f"{len(project.events())} lines, the chain is whole" in text


def test_edited_ledger(project: Project, copy: Path) -> None:
    copy.write_text(project.ledger().read_text().replace('"loss": 2.25', '"loss": 0.25'))
    done = project.looper("check-ledger", "--repo", str(copy.parents[2]), status=1)
    assert "the chain is broken" in done.stdout
    found = json.loads(project.looper("check-ledger", "--json", "--repo", str(copy.parents[2]), status=1).stdout)
    assert found["ok"] is False
    done = project.looper("log", "--repo", str(copy.parents[2]), status=2)
    assert "the chain is broken" in done.stderr


def test_torn_ledger(project: Project, copy: Path) -> None:
    lines = project.ledger().read_text().splitlines(keepends=True)
    copy.write_text("".join(lines[:-1]) + lines[-1][:30])
    done = project.looper("check-ledger", "--repo", str(copy.parents[2]), status=0)
    assert f"{len(lines) - 1} lines" in done.stdout
    assert "last line is torn (30 bytes)" in done.stdout
    assert len(project.json("log", "--repo", str(copy.parents[2]))) == 8


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
def test_no_session(command: list[str], project: Project, tmp_path: Path) -> None:
    done = project.looper(*command, cwd=tmp_path, status=2)
    assert done.stdout == ""
    assert done.stderr == (
        f"looper: There is no session in {tmp_path / '.looper'}. Start one with: looper run TARGET\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_no_such_session(project: Project) -> None:
    assert "There is no session 'other'" in project.looper("log", "other", status=2).stderr


def test_reader_of_the_output_leaves(project: Project) -> None:
    process = project.start("log", "bowl", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate()
    assert b"Traceback" not in stderr


def test_experiments_that_were_put_on_a_newer_champion(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.run("--slots", "3", "--pause", "0.2", experiments=12)
    rows = project.json("log")
    assert Counter(row["n"] for row in rows) == Counter(range(13))
    for row in rows:
        attempts = project.record().history[[r["n"] for r in rows].index(row["n"])].attempt
        assert row["attempt"] == attempts


def test_words_of_a_proposer_do_not_reach_the_terminal(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.speak(" \x1b[2J\x1b]0;title\x07[red]bold[/red]\r\nsecond\u202eline")
    run = project.run("--slots", "1", experiments=1)
    show, log, status = (project.looper(*c, status=0).stdout for c in (["show", "1"], ["log"], ["status"]))
    tsv = project.looper("log", "--tsv", status=0).stdout
    for text in (run.stdout, show, log, status, tsv):
        assert "[red]bold[/red] secondline" in text
        assert not set("\x1b\x07\r\u202e") & set(text)
    assert len(tsv.splitlines()) == 3


def test_target_outside_any_repository(tmp_path: Path) -> None:
    project = Project(tmp_path, in_git=False)
    done = project.run("--slots", "1", experiments=1)
    assert project.json("status", "--repo", str(project.target))["champion"]["n"] == 1
    assert "+X = 1.5" in project.looper("diff", "1", cwd=project.target, status=0).stdout
    commands = suggested(done.stdout)
    assert "closer" in shell(commands["branch"], project)
    assert "#1" in shell(commands["look"], project)
    shell(commands["take it"], project)
    assert "X = 1.5" in (project.target / "solution.py").read_text()


def test_commands_that_are_suggested_at_the_end(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.run("--slots", "1", experiments=0)
    done = project.run("--slots", "1", "--fresh", experiments=1)
    commands = suggested(done.stdout)
    assert commands["branch"] == "git log looper/bowl-2"
    assert "closer" in shell(commands["branch"], project)
    assert commands["look"] == "looper log bowl-2"
    shell(commands["take it"], project)
    assert "X = 1.5" in (project.target / "solution.py").read_text()
    shell(commands["go on"], project)
    assert len(project.record("bowl-2").history) == 3


def suggested(text: str) -> dict[str, str]:
    """The commands of the summary that a session ends with, by their label."""
    lines = [line for line in text.splitlines() if line.startswith("  ") and line[2] != " "]
    return {line[2:11].strip(): line[11:] for line in lines}


def shell(command: str, project: Project) -> str:
    """Run a command as a user would, where `looper` is on the path."""
    folder = project.scratch / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "looper"
    script.write_text(f"#!/bin/sh\nexec {COMMAND[0]} -c '{COMMAND[2]}' \"$@\"\n")
    script.chmod(0o755)
    environment = project.environment(GIT_MERGE_AUTOEDIT="no")
    environment["PATH"] = f"{folder}:{environment['PATH']}"
    done = subprocess.run(command, shell=True, cwd=project.top, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_doctor() -> None:
    done = subprocess.run([*COMMAND, "doctor", "--json"], capture_output=True, text=True, check=True)
    assert {"Python", "git"} <= {check["name"] for check in json.loads(done.stdout)}
