"""The views, on real terminals and on pipes, one of which goes away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.measuring import best
from tests.projects import Project, wait_until

#: What moves the cursor or colours: all that a view may send besides text.
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal that records what is written to it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns, lines)
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is gone, or this one was closed
            while data := os.read(self.master, 1 << 16):
                self._seen += data

    @property
    def text(self) -> str:
        """Everything so far, without the sequences."""
        return SEQUENCE.sub("", self.raw)

    @property
    def raw(self) -> str:
        return self._seen.decode(errors="replace")

    def lines(self) -> list[str]:
        return self.text.replace("\r", "\n").split("\n")

    def close(self) -> None:
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(100, 30)
    yield terminal
    terminal.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def watch(project: Project, terminal: Terminal, *args: str, **more: str) -> subprocess.Popen[bytes]:
    """Start a session whose controlling terminal is ``terminal``."""
    environment = {k: v for k, v in project.environment().items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    place: dict[str, Any] = {name: terminal.slave for name in ("stdin", "stdout", "stderr")}
    return project.start_run(
        "--slots",
        "1",
        *args,
        env={**environment, "TERM": "xterm-256color", **more},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        **place,
    )


def test_session_on_a_terminal(project: Project, terminal: Terminal) -> None:
    project.speak(" \x1b[2J\x1b]0;title\x07[red]bold[/red]")
    assert watch(project, terminal, "--experiments", "3", "--pause", "0.3").wait() == 0
    wait_until(lambda: "go on" in terminal.text, "the summary")
    text = terminal.text
    assert f"isolation  {best()}: no files, processes or network but a candidate's own" in text
    assert "#0  slot 0  run" in text
    assert re.search(r"[━─]{10}  \d\.\d/2 s  baseline", text)
    assert re.search(r"#1 +2\.25 +-75\.00%  keep       closer \[red\]bold\[/red\]", text)
    assert re.search(r"#3 +crash      break .*ZeroDivisionError", text)
    assert "3 of 3 experiments · 1 kept · best 2.25 (-75.00%) · " in text
    assert "left" in text
    assert "result   loss 9 → 2.25 (-6.75, -75.00%)" in text
    assert "\x1b[2J" not in terminal.raw
    assert "\x07" not in terminal.raw
    assert max(map(cell_len, terminal.lines()[8:])) <= 100 or "Ended" in text


def test_colours_stay_away_when_they_are_not_wanted(project: Project, terminal: Terminal) -> None:
    assert watch(project, terminal, "--experiments", "0", NO_COLOR="1").wait() == 0
    wait_until(lambda: "go on" in terminal.text, "the summary")
    assert "\x1b[32m" not in terminal.raw


def test_narrow_terminal_and_one_that_gets_narrower(project: Project, terminal: Terminal) -> None:
    terminal.resize(60, 14)
    process = watch(project, terminal, "--experiments", "4", "--pause", "0.3")
    wait_until(lambda: "#1 " in terminal.text, "the first experiment")
    terminal.resize(18, 7)
    process.send_signal(signal.SIGWINCH)
    before = len(terminal.text)
    assert process.wait() == 0
    wait_until(lambda: "Ended" in terminal.text, "the summary")
    drawn = terminal.text[before:].partition("Ended")[0].replace("\r", "\n").split("\n")
    # what was being drawn when the size changed may still be wide
    narrow = drawn[len(drawn) // 2 :]
    assert max(map(cell_len, narrow)) <= 18
    assert any(line.startswith("    n  verdict") for line in narrow)


def test_interrupted_once_finishes_and_twice_ends(project: Project, terminal: Terminal) -> None:
    process = watch(project, terminal, "--pause", "1.5")
    wait_until(lambda: "slot 0  run" in terminal.text, "the baseline's run")
    os.write(terminal.master, b"\x03")
    wait_until(lambda: "Finishing what runs. Ctrl-C again ends it now" in terminal.text, "the answer to Ctrl-C")
    os.write(terminal.master, b"\x03")
    assert process.wait() == 130
    wait_until(lambda: "go on" in terminal.text, "the summary")
    assert "Stopped before its time; everything up to here is on record." in terminal.text
    assert "The baseline was not measured yet." in terminal.text
    assert "Traceback" not in terminal.text
    assert "\x1b[?25h" in terminal.raw.rpartition("\x1b[?25l")[2], "the cursor is shown again"
    assert project.run("--resume", "--slots", "1", experiments=1).returncode == 0
    assert [e.n for e in project.record().history] == [0, 1]


def test_terminal_that_goes_away_does_not_end_the_session(project: Project) -> None:
    master, slave = pty.openpty()
    environment = {**project.environment(), "TERM": "xterm"}
    args = ("--slots", "1", "--experiments", "3", "--pause", "0.2")
    # not its controlling terminal, so that no signal comes with the end
    process = project.start_run(*args, env=environment, stdout=slave, start_new_session=True)
    project.wait_for("decided")
    os.close(master)
    os.close(slave)
    assert process.wait() == 0
    assert project.record().closed == "3 experiments were asked for"


def test_pipe_whose_reader_leaves_does_not_end_the_session(project: Project) -> None:
    process = project.start_run("--slots", "1", "--experiments", "3", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    _, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, b"")
    assert project.record().closed == "3 experiments were asked for"


def test_lines_on_a_pipe_come_as_they_happen(project: Project) -> None:
    process = project.start_run("--slots", "1", "--pause", "0.5", stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[:1] == ["#1"]:
            break
    assert line.split() == ["#1", "2.25", "-75.00%", "keep", "closer"]
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    rest = process.communicate()[0]
    assert process.returncode == 0
    assert "Ended: interrupted." in rest
    assert "\x1b" not in rest


def test_target_whose_baseline_fails(project: Project) -> None:
    project.write("solution.py", "def answer():\n    return 'text'\n")
    done = project.looper("run", str(project.target), "--proposer", "steps", status=2)
    assert "The baseline has no score (invalid): answer() must return a float, not 'text'." in done.stdout
    assert "result" not in done.stdout
