"""Where a view prints: a stream that may go away at any time without taking the session with it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


def output() -> TextIO:
    """Standard output, able to take any character; a stream that leads nowhere when there is none."""
    if sys.stdout is None:  # closed before looper started
        return open(os.devnull, "w")
    with contextlib.suppress(AttributeError):  # not every replacement of it can be configured
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    return sys.stdout


def is_interactive(stream: TextIO) -> bool:
    """Whether a live view makes sense: a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


@contextlib.contextmanager
def expendable(stream: TextIO) -> Iterator[None]:
    """Printing to ``stream`` in this block may fail; from then on the stream leads nowhere.

    A terminal that was closed, or the reader of a pipe that left, is no reason to end a session.
    """
    try:
        yield
    except (OSError, ValueError):
        lead_nowhere(stream)


def lead_nowhere(stream: TextIO) -> None:
    """Have the descriptor of ``stream`` lead to nothing, what it has buffered included."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def visible(line: str) -> str:
    """A line of an untrusted file for a terminal: what is not printable is shown as its escape."""
    return "".join(char if char.isprintable() or char == "\t" else repr(char)[1:-1] for char in line)
