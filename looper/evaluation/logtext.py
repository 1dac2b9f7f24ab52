"""Untrusted output made fit for a record: bounded, and free of anything a terminal would obey."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

CAP = 64 * 1024  # bytes kept of what a process prints
LINES = 50
WIDTH = 1000  # characters kept of one line

# OSC, DCS and friends end at BEL or ST; CSI ends at its final byte; then two-character escapes. One that never
# ends takes its line with it and no more.
ESCAPE = re.compile(r"\x1b[\]PX^_][^\n\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[^\n]?")

# Controls, formatting (bidirectional, zero width), surrogates, private use, line and paragraph separators.
UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))


class Tail:
    """The last ``CAP`` bytes of a stream."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > 2 * CAP:  # trimmed now and then, so that adding stays cheap
            del self._kept[:-CAP]

    def lines(self) -> tuple[str, ...]:
        return clean(bytes(self._kept[-CAP:]))


def clean(data: bytes | str) -> tuple[str, ...]:
    """The last ``LINES`` lines of ``data`` as a terminal would show them, without control characters.

    Escape sequences are removed; of a line that was rewritten with carriage returns the last non-empty
    state is kept; C0, C1, bidirectional and zero-width characters are removed; invalid UTF-8 is replaced.
    """
    return last(_plain_lines(data))


def last(lines: Iterable[str]) -> tuple[str, ...]:
    """The last ``LINES`` of lines that are clean already, fewer if they exceed ``CAP`` bytes of UTF-8."""
    kept: list[str] = []
    size = 0
    for line in reversed(list(lines)[-LINES:]):
        size += len(line.encode()) + 1
        if size > CAP:
            break
        kept.append(line)
    return tuple(reversed(kept))


def one_line(text: str, width: int = 300) -> str:
    """``text`` as a single clean line of at most ``width`` characters."""
    flat = " ".join(" ".join(_plain_lines(text)).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def _plain_lines(data: bytes | str) -> list[str]:
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    text = ESCAPE.sub("", text).replace("\r\n", "\n")
    lines = [_plain(_last_state(line)) for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _last_state(line: str) -> str:
    states = [state for state in line.split("\r") if state.strip()]
    return states[-1] if states else ""


def _plain(line: str) -> str:
    line = line.expandtabs(4)[:WIDTH]
    if not line.isprintable():
        line = "".join(char for char in line if unicodedata.category(char) not in UNPRINTABLE)
    return line.rstrip()
