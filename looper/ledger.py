"""The append-only record of a session: one JSON object a line, chained by hash, on disk before anything acts.

Every line carries the SHA-256 of the line before it, so that an edited or missing line shows. A line is
written and fsynced before the caller goes on. A torn last line (the power went) is set aside and reported:
nobody was told that it was written. Anything else that does not fit is an error that names the line. What
was done to the last line itself shows once another follows it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from looper.errors import LedgerError

EVENTS = ("opened", "proposed", "measured", "decided", "closed")
START = "0" * 64  # the hash that the first line carries


class Ledger:
    """An open ledger. Only the session's holder of the lock may have one.

    Raises:
        LedgerError: when the file cannot be opened for writing.

    Attributes:
        path: the file.
        torn: bytes of a torn last line that were set aside when it was opened; empty when there were none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = b""
        self._last = START
        with _told(path):
            new = not path.exists()
            self._file = open(path, "ab", buffering=0)
            if new:
                for folder in path.parents[:3]:  # the file's name, its folder's, and that of .looper
                    _sync_folder(folder)

    def events(self) -> Iterator[dict[str, Any]]:
        """Read the ledger from the start, check its chain, and get ready to append after it.

        Raises:
            LedgerError: when a line is not what was once written.
        """
        size, end = 0, os.fstat(self._file.fileno()).st_size
        for number, line in _lines(self.path):
            last = size + len(line) == end
            if not line.endswith(b"\n") or (last and b"\0" in line):  # zeros: a block that never reached the disk
                self._set_aside(size, line)
                return
            event = _parse(self.path, number, line, self._last)
            self._last = hashlib.sha256(line[:-1]).hexdigest()
            size += len(line)
            yield event

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Write one line; on return it is on the disk. Returns the event as a reader of the ledger will see it.

        Raises:
            LedgerError: when it cannot be written, for example because the disk is full. The ledger then
                ends after its last whole line, as if this one had never been asked for.
        """
        record = {"event": event, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        text = json.dumps({**record, "prev": self._last}, ensure_ascii=False, allow_nan=False)
        line = text.encode(errors="backslashreplace")  # half a surrogate pair: its JSON escape
        size = self._file.seek(0, os.SEEK_END)
        try:
            _write_all(self._file.fileno(), line + b"\n")
            os.fsync(self._file.fileno())
            self._last = hashlib.sha256(line).hexdigest()
        except BaseException as error:  # an interrupt too must not leave half a line for the next one to follow
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), size)
            if isinstance(error, OSError):
                raise _cannot_write(self.path, error) from error
            raise
        event_as_read: dict[str, Any] = json.loads(line)
        return event_as_read

    def close(self) -> None:
        self._file.close()

    def _set_aside(self, size: int, line: bytes) -> None:
        with _told(self.path):
            with open(self.path.with_suffix(".torn"), "ab") as aside:
                aside.write(line + b"\n")
            os.ftruncate(self._file.fileno(), size)
            os.fsync(self._file.fileno())
        self.torn = line


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a ledger that somebody else may be writing; a torn last line is left out.

    Raises:
        LedgerError: when a line is not what was once written.
    """
    last = START
    for number, line in _lines(path):
        if line.endswith(b"\n"):
            yield _parse(path, number, line, last)
            last = hashlib.sha256(line[:-1]).hexdigest()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with open(path, "rb") as f:
            yield from enumerate(f, start=1)
    except FileNotFoundError:
        raise LedgerError(f"There is no ledger at {path}.") from None


def _parse(path: Path, number: int, line: bytes, prev: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
        known = event["event"] in EVENTS
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise LedgerError(f"{path}, line {number}: this is not a line of a ledger. Restore the file from a copy.")
    if event.get("prev") != prev:
        raise LedgerError(
            f"{path}, line {number}: the chain is broken; line {max(number - 1, 1)} or this one was edited, added or "
            "removed after it was written. Restore the file from a copy, or start a new session with --fresh."
        )
    return event  # type: ignore[no-any-return]


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> LedgerError:
    return LedgerError(
        f"The ledger {path} cannot be written: {error.strerror}. Everything up to here is safe; "
        "mend that (make room, make the folder writable) and run the same command again to go on."
    )


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable too."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
