"""The ledger: whole lines or none, and no line changed unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from looper.errors import LedgerError
from looper.ledger import EVENTS, Ledger, read

WORDS = ["opened", "Grüße, 日本 🙂", 'a "quoted" \\ word', "line\nfeed and nul\0", "half a pair \ud800"]


def written(folder: Path, texts: list[str]) -> Path:
    path = folder / "ledger.jsonl"
    with closing(Ledger(path)) as ledger:
        for text in texts:
            ledger.append("closed", reason=text, value=0.1 + 0.2)
    return path


def opened_again(path: Path) -> list[dict[str, Any]]:
    with closing(Ledger(path)) as ledger:
        return list(ledger.events())


def reasons(path: Path) -> list[str]:
    return [event["reason"] for event in read(path)]


def test_what_is_read_is_what_was_returned(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
        given = [ledger.append("measured", text=text, pair=(1, 2.5), none=None, inner={1: "a"}) for text in WORDS]
    found = list(read(ledger.path))
    assert found == given
    assert [event["text"] for event in found] == WORDS
    assert found[0]["pair"] == [1, 2.5]
    ledger.path.read_text(encoding="utf-8")  # whatever the text: the file is UTF-8


def test_what_json_does_not_know_is_not_written(tmp_path: Path) -> None:
    path = written(tmp_path, WORDS)
    with closing(Ledger(path)) as ledger:
        list(ledger.events())
        for value in (float("nan"), float("inf"), object()):
            with pytest.raises((TypeError, ValueError)):
                ledger.append("closed", reason=value)
        ledger.append("closed", reason="after")
    assert reasons(path) == [*WORDS, "after"]


@settings(max_examples=40)  # each of them waits for the disk several times
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=4), data=st.data())
def test_a_last_line_cut_anywhere_is_set_aside(texts: list[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), texts)
        whole = path.read_bytes()
        last = len(whole.splitlines(keepends=True)[-1])
        cut = data.draw(st.integers(1, last), label="bytes lost")
        zeros = data.draw(st.integers(0, 3), label="zeros in their place")
        torn = whole[len(whole) - last : -cut] + b"\0" * zeros
        path.write_bytes(whole[:-cut] + b"\0" * zeros)
        assert reasons(path) == texts[:-1]
        with closing(Ledger(path)) as ledger:
            assert [event["reason"] for event in ledger.events()] == texts[:-1]
            assert ledger.torn == torn
            assert path.read_bytes() == whole[:-last]
            assert not torn or path.with_suffix(".torn").read_bytes() == torn + b"\n"
            ledger.append("closed", reason="after")
        assert reasons(path) == [*texts[:-1], "after"]


@settings(max_examples=40)
@given(number=st.integers(0, 3), data=st.data())
def test_a_line_that_was_changed_is_named(number: int, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), ["one", "two", "three", "four", "five"])
        lines = path.read_bytes().splitlines(keepends=True)
        kind = data.draw(st.sampled_from(["edited", "removed", "doubled", "swapped", "blank", "garbage"]))
        one = lines[number]
        at = data.draw(st.integers(0, len(one) - 2), label="character")
        other = b"1" if one[at : at + 1] != b"1" else b"2"
        lines[number : number + 1] = {
            "edited": [one[:at] + other + one[at + 1 :]],
            "removed": [],
            "doubled": [one, one],
            "swapped": [lines[number + 1], one],
            "blank": [b"\n", one],
            "garbage": [b"{}\n"],
        }[kind]
        path.write_bytes(b"".join(lines))
        for reader in (read, opened_again):
            with pytest.raises(LedgerError, match=rf"line ({number + 1}|{number + 2}):"):
                list(reader(path))


def test_no_line_is_an_event_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(json.dumps({"event": "imagined", "prev": "0" * 64}) + "\n")
    assert "imagined" not in EVENTS
    with pytest.raises(LedgerError, match=r"line 1: this is not a line of a ledger"):
        list(read(path))


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(LedgerError, match="Is a directory"):
        Ledger(tmp_path / "ledger.jsonl")


FILL = """
import sys
from pathlib import Path
from looper.errors import LedgerError
from looper.ledger import Ledger, read

path, ballast = Path(sys.argv[1], "ledger.jsonl"), Path(sys.argv[1], "ballast")
ballast.write_bytes(bytes(16 << 10))
ledger, done = Ledger(path), 0
try:
    while True:
        ledger.append("closed", reason="x" * 1000)
        done += 1
except LedgerError as error:
    assert "No space left on device" in str(error), error
    assert "run the same command again" in str(error), error
assert 10 < done < 100, done
assert path.read_bytes().endswith(b"}\\n")
assert sum(1 for _ in read(path)) == done
ballast.unlink()
again = Ledger(path)
assert sum(1 for _ in again.events()) == done and not again.torn
again.append("closed", reason="there is room again")
assert sum(1 for _ in read(path)) == done + 1
"""


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    mounted = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=64k none "$0" && exec "$@"', str(tmp_path)]
    if subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount in a namespace of their own")
    done = subprocess.run(
        [*mounted, sys.executable, "-c", FILL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
