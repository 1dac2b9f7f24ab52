"""``looper run`` from its first line to its exit: stop rules, signals, proposals and proposers of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from looper.ledger import Ledger
from looper.record import FORMAT, Record
from tests.projects import COMMAND, wait_until
from tests.scripted import Scripted

BETTER = [{"a": 9 - n / 2} for n in range(10)]


def run(project: Scripted, *args: str, status: int = 0) -> str:
    done = project.looper("run", str(project.target), "--proposer", "steps", "--slots", "1", *args, status=status)
    return done.stdout + done.stderr


def closed(project: Scripted) -> list[str]:
    return [event["reason"] for event in project.events() if event["event"] == "closed"]


# -- stop rules -----------------------------------------------------------------------------------------------


def test_experiments_are_counted_anew_in_every_call(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    for number, total in ((0, 1), (2, 3), (3, 6)):
        run(project, "--experiments", str(number))
        assert project.record().next_n == total
    assert closed(project)[-1] == "3 experiments were asked for"


def test_hours(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    assert "hours are over" in run(project, "--hours", "1e-9")
    assert project.record().next_n == 1
    run(project, "--hours", "1")
    assert closed(project)[-1] == "there is nothing left to propose"


def test_the_goal(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    project.edit("target.py", "min_delta=0.5", "goal=17.6")
    run(project)
    assert project.record().champion.metrics["loss"] == 17.5  # type: ignore[union-attr]
    run(project)
    assert closed(project) == ["the goal of 17.6 is reached"] * 2
    assert project.record().next_n == 5


def test_a_proposer_that_repeats_itself_for_ever(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 11}] * 100)
    assert "25 proposals in a row were no new candidates" in run(project)
    assert [verdict for _, _, verdict in project.verdicts()] == ["discard", *["duplicate"] * 25]
    assert "the same files as experiment 1" in project.record().history[-1].reason


def test_an_evaluator_that_keeps_failing(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9}, *({"a": "fault", "_": n, "b": n} for n in range(9)), {"a": 8}])
    said = run(project, status=2)
    assert "The evaluator failed 3 times in a row" in said
    assert "the scale is out of order" in said
    assert [verdict for _, _, verdict in project.verdicts()] == ["keep", "crash", "crash", "crash"]
    assert closed(project)[-1].startswith("failed: The evaluator failed 3 times")
    assert not project.record().pending


# -- proposals ------------------------------------------------------------------------------------------------


def test_bad_proposals_are_invalid_and_the_session_goes_on(tmp_path: Path) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"files": {"evaluate.py": "def evaluate(run): run.report(loss=0)\n"}}, "changes 'evaluate.py'"),
        ({"files": {"../outside": "x"}}, "changes '../outside'"),
        ({"files": {"point.txt": "a=1\nb=1\0\n"}}, "null character into point.txt"),
        ({"files": {"point.txt": "\ud800"}}, "not Unicode text"),
        ({"files": {"point.txt": "x" * (1 << 20) + "x"}}, "makes point.txt 1048577 bytes long"),
        ({"files": {"point.txt": None}}, "gives a NoneType for point.txt"),
        ({"files": {"point.txt": "a=1\n"}, "meta": {"set": {1, 2}}}, "meta that are not plain values"),
        ({"files": {"point.txt": "a=1\n"}, "meta": {"not": float("nan")}}, "meta that are not plain values"),
    ]
    project = Scripted(tmp_path, [*({**move, "cost_usd": 1.5, "tokens": 7} for move, _ in bad), {"a": 9}])
    target = (project.target / "target.py").read_text()
    project.write("target.py", target.replace("nan", "float('nan')"))
    run(project)
    history = project.record().history
    unedited = project.git("rev-parse", f"{project.record().opened['base']}^{{tree}}")
    assert [each.verdict for each in history[1:]] == ["invalid"] * len(bad) + ["keep"]
    for experiment, (_, said) in zip(history[1:], bad, strict=False):
        assert said in experiment.reason
        assert experiment.meta == {}
        assert project.git("rev-parse", f"{experiment.commit}^{{tree}}") == unedited
    assert [event["cost_usd"] for event in project.events() if event["event"] == "proposed"] == [
        None, *[1.5] * len(bad), None,
    ]  # fmt: skip


def test_words_of_every_kind_are_one_clean_line(tmp_path: Path) -> None:
    words = "two\nlines \x1b[31mred\x1b[0m \0 \ud800 \u202e größe 日本 " + "x" * 10_000
    files = {"point.txt": "a=9\nafter=\nb=10\n"}
    project = Scripted(tmp_path, [{"files": files, "hypothesis": words, "cost_usd": float("inf"), "tokens": "many"}])
    target = (project.target / "target.py").read_text()
    project.write("target.py", target.replace("'cost_usd': inf", "'cost_usd': float('inf')"))
    run(project)
    experiment = project.record().history[1]
    assert experiment.hypothesis.startswith("two lines red größe 日本 xxx")
    assert len(experiment.hypothesis) <= 300
    assert project.git("log", "-1", "--format=%s", "looper/bowl").strip() == experiment.hypothesis
    event = next(event for event in project.events() if event["event"] == "proposed" and event["n"] == 1)
    assert (event["cost_usd"], event["tokens"]) == (None, 0)


def test_an_empty_proposal_is_a_duplicate(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"files": {}}, {"a": 9}])
    run(project)
    assert project.verdicts() == [(1, 1, "duplicate"), (2, 1, "keep")]


def test_a_proposer_that_fails_ends_the_session_resumably(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9}, {"error": "no idea"}])
    said = run(project, status=2)
    assert "The proposer steps failed: ValueError: no idea (" in said
    assert "target.py, line " in said
    assert closed(project) == [f"failed: {said.rpartition('looper: ')[2].strip()}"]
    assert project.verdicts() == [(1, 1, "keep")]
    assert "ValueError: no idea" in run(project, status=2)  # the same again, from the same ledger


def test_a_proposer_that_returns_something_else(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9}])
    project.edit("target.py", "return Proposal(**", "return dict(**")
    assert "The proposer steps returned a dict, not a Proposal" in run(project, status=2)


def test_a_proposer_sees_the_same_while_it_runs_and_after(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9}, {"a": 8}])
    seen = tmp_path / "seen"
    project.edit("target.py", '"meta": {"move": move}', '"meta": {"move": (move, 1), "n": {1: 2}}')
    project.edit("target.py", "    def propose(self, context):\n", "    def propose(self, context):\n"
                 f"        open({str(seen)!r}, 'a').write(repr(list(context.history)[:2]) + '\\n')\n")  # fmt: skip
    run(project, "--experiments", "2")
    run(project)
    lines = seen.read_text().splitlines()
    assert len(lines) == 3
    assert lines[1] == lines[2]


# -- signals --------------------------------------------------------------------------------------------------


def started(project: Scripted, *wrap: str) -> subprocess.Popen[bytes]:
    """A session in whose second experiment nothing will happen until its gate is opened."""
    command = [*wrap, *COMMAND, "run", str(project.target), "--proposer", "steps", "--slots", "1"]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=project.top, env=project.environment(), **pipe)
    project.wait_for("proposed", 2)
    return process


def test_one_ctrl_c_lets_the_running_experiment_finish(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9, "after": "now"}, {"a": 8}])
    process = started(project)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    wait_until(lambda: b"Ctrl-C again" in process.stdout.readline(), "word of what Ctrl-C does")  # type: ignore[union-attr]
    (tmp_path / "ended" / "now").touch()
    process.communicate()
    assert process.returncode == 0
    assert project.verdicts() == [(1, 1, "keep")]
    assert closed(project) == ["interrupted"]
    run(project)
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "keep")]


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP]])
def test_what_ends_it_at_once(tmp_path: Path, signals: list[signal.Signals]) -> None:
    project = Scripted(tmp_path, [{"a": 9, "after": "now"}, {"a": 8}])
    process = started(project)
    for sent, number in enumerate(signals, start=1):
        process.send_signal(number)
        if sent < len(signals):
            assert process.stdout is not None
            wait_until(lambda: b"Ctrl-C again" in process.stdout.readline(), "an answer")  # type: ignore[union-attr]
    said = process.communicate()[0].decode()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert closed(project) == ["interrupted at once"]
    assert not (project.home / ".looper" / "bowl" / "slots").exists()
    wait_until(lambda: not project.processes(), "the end of every process")
    (tmp_path / "ended" / "now").touch()
    run(project)
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "keep")]
    assert project.record().next_n == 3


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9, "after": "now"}, {"a": 8}])
    process = started(project, "nohup")
    process.send_signal(signal.SIGHUP)
    (tmp_path / "ended" / "now").touch()
    process.communicate()
    assert process.returncode == 0
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "keep")]


def test_the_reader_of_its_output_may_leave(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 9, "after": "now"}, {"a": 8}])
    process = started(project)
    assert process.stdout is not None
    process.stdout.close()
    (tmp_path / "ended" / "now").touch()
    assert process.wait() == 0
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "keep")]


def test_an_interrupt_at_any_instant_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    pid = os.fork()
    if pid == 0:  # appends until it is told to stop, by an exception wherever it happens to be
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            ledger.append("opened", format=FORMAT, base="b", environment="e", identity={})
            while True:
                ledger.append("closed", reason="x" * 50_000)
        except KeyboardInterrupt:
            ledger.append("closed", reason="interrupted")
        finally:
            os._exit(0)
    ledger.close()
    wait_until(lambda: path.stat().st_size > 500_000, "some lines")
    os.kill(pid, signal.SIGINT)
    assert os.waitpid(pid, 0) == (pid, 0)
    ledger = Ledger(path)
    assert Record.of(ledger.events()).closed == "interrupted"
    assert ledger.torn == b""
    ledger.close()
