"""Untrusted output is bounded and can do nothing to a terminal or to the layout of a page."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from looper.evaluation.logtext import CAP, LINES, Tail, clean, last, one_line


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"", ()),
        (b"one\ntwo\n\n\n", ("one", "two")),
        (b"one\r\ntwo\r\n", ("one", "two")),
        (b" 1%\r 50%\r100%\r\n", ("100%",)),
        (b"kept\r   \rend\r", ("end",)),
        (b"a\tb", ("a   b",)),
        (b"\x1b[1;31mred\x1b[0m", ("red",)),
        (b"\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link", ("textlink",)),
        (b"\x1b]52;c;never ends\nnext", ("", "next")),
        (b"\x1b", ()),
        ("x\u202ey\u200bz\u2028w\x85v\ue000".encode(), ("xyzwv",)),
        (b"\xff\xfe", ("\ufffd\ufffd",)),
        ("größer 日本".encode(), ("größer 日本",)),
    ],
)
def test_clean(raw: bytes, lines: tuple[str, ...]) -> None:
    assert clean(raw) == lines


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_nothing_that_a_terminal_obeys_is_left(raw: bytes) -> None:
    for line in (*clean(raw), one_line(raw.decode("utf-8", "replace"))):
        assert not {unicodedata.category(char) for char in line} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
        assert line.splitlines() in ([], [line])


def test_the_last_lines_are_kept() -> None:
    assert clean("\n".join(map(str, range(200)))) == tuple(map(str, range(150, 200)))


def test_a_record_is_bounded_in_bytes() -> None:
    lines = last(["\N{SNOWMAN}" * 1000] * LINES)
    assert len(lines) == 21
    assert len("\n".join(clean(b"\xff" * CAP * 4)).encode()) <= CAP


def test_a_tail_keeps_the_end_of_a_flood() -> None:
    tail = Tail()
    for n in range(20000):
        tail.add(b"%06d\n" % n)
    assert tail.lines() == tuple(f"{n:06d}" for n in range(19950, 20000))


def test_one_line_begins_with_the_beginning() -> None:
    text = "cause: " + "\n".join(map(str, range(500)))
    assert one_line(text).startswith("cause: 0 1 2")
    assert len(one_line(text)) == 300
    assert one_line("a\nb\r\n\n c") == "a b c"
