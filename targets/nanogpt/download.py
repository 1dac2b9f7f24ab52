"""Large files over HTTP: resumed, retried, checked by length and hash, renamed into place when whole.

Made for the Hugging Face hub, which redirects a file's address to a content network and names the
file's SHA-256 in the redirect (``X-Linked-ETag``); works with any server that speaks HTTP.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import json
import os
import random
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from cachedir import locked, sync_folder, write_atomic
from dataset import CorpusError

TIMEOUT_S = 30.0
CHUNK = 1 << 20
PARALLEL = 8
MAX_FAILURES = 6  # in a row, without a byte gained
MAX_UNREACHABLE = 3  # in a row: without a network there is no use in going on
MAX_SPOILED = 3  # whole files with a wrong hash
LONGEST_WAIT_S = 120.0
PASSING = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(CorpusError):
    """A file could not be fetched; what has arrived is kept."""


class _Again(Exception):
    """An attempt failed in a way that may pass."""

    unreachable = False
    spoiled = False

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _Unreachable(_Again):
    unreachable = True


class _Spoiled(_Again):
    spoiled = True


@dataclass
class Download:
    """What all downloads of one batch share.

    Args:
        grow: called with the bytes of a file that are still to come, once its length is known.
        advance: called with the bytes that arrived.
        wait_s: seconds before the second attempt; doubled for every further one.
        stop: set to end every download of the batch soon.
    """

    grow: Callable[[int], None] = lambda count: None
    advance: Callable[[int], None] = lambda count: None
    wait_s: float = 0.5
    stop: threading.Event = field(default_factory=threading.Event)

    def fetch_all(self, files: Sequence[tuple[str, Path]]) -> list[dict[str, Any]]:
        """``fetch`` every (url, destination), several at a time; the records in the same order."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            futures = [pool.submit(self.fetch, url, path) for url, path in files]
            try:
                # The first failure ends the wait, whichever file it is.
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
                return [future.result() for future in futures]
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def fetch(self, url: str, path: Path) -> dict[str, Any]:
        """Have ``url`` in ``path``; at once when it is there already.

        The record, kept beside the file as ``<name>.json``: ``url``, ``bytes``, ``sha256``, ``verified``
        (whether the server named that hash) and ``commit`` (of the repository, where it said so).

        Raises:
            DownloadError: the server refuses, cannot be reached, or sends something else than it announced.
        """
        with locked(path.with_name(path.name + ".lock"), waiting=lambda: None):
            record = downloaded(path)
            if record is None:
                record = self._until_whole(url, path.with_name(path.name + ".part"), path)
            return record

    def _until_whole(self, url: str, part: Path, path: Path) -> dict[str, Any]:
        failures = unreachable = spoiled = 0
        while not self.stop.is_set():
            before = _size(part)
            try:
                record = self._attempt(url, part)
            except _Again as again:
                gained = _size(part) > before
                failures = 1 if gained else failures + 1
                unreachable = unreachable + 1 if again.unreachable else 0
                spoiled += again.spoiled
                if failures >= MAX_FAILURES or unreachable >= MAX_UNREACHABLE or spoiled >= MAX_SPOILED:
                    raise DownloadError(f"{url}: {again}. Tried several times.") from None
                self.stop.wait(self._pause(url, again, failures))
            else:
                write_atomic(path.with_name(path.name + ".json"), json.dumps(record).encode())
                part.replace(path)
                sync_folder(path.parent)
                return record
        raise DownloadError(f"{url}: stopped because another download failed.")

    def _pause(self, url: str, again: _Again, failures: int) -> float:
        """Seconds to wait: what the server asked for, else doubling, spread so that clients do not march."""
        if again.wait_s is None:
            return min(self.wait_s * 2.0 ** (failures - 1), LONGEST_WAIT_S) * random.uniform(0.75, 1.25)
        if again.wait_s > LONGEST_WAIT_S:
            raise DownloadError(
                f"{url}: {again}, and asks to come back in {again.wait_s:.0f} s. "
                "Run again then; what has arrived is kept."
            )
        return again.wait_s

    def _attempt(self, url: str, part: Path) -> dict[str, Any]:
        have = _size(part)
        headers = {"User-Agent": "looper", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        hops = _Hops()
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.build_opener(hops).open(request, timeout=TIMEOUT_S) as response:
                told = _told(url, {**_lower(response.headers), **hops.linked})
                if response.status == 206 and not (told.sha256 and told.start == have):
                    # Without a hash nothing says that the two ends belong to the same file.
                    part.unlink()
                    raise _Again("the server cannot resume this file", wait_s=0.0)
                self._receive(response, part, told, have if response.status == 206 else 0)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(url, error, part) from None
        except urllib.error.URLError as error:
            host = urlsplit(url).netloc
            raise _Unreachable(f"{host} cannot be reached ({error.reason})") from None
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            raise _Again(f"the connection broke ({error or type(error).__name__})") from None
        return {"url": url, **self._checked(part, told), "commit": told.commit}

    def _receive(self, response: IO[bytes], part: Path, told: _Told, start: int) -> None:
        arrived = 0
        self.grow(told.length)
        try:
            with open(part, "ab" if start else "wb") as file:
                while chunk := response.read(CHUNK):
                    if self.stop.is_set():
                        raise DownloadError("stopped because another download failed.")
                    file.write(chunk)
                    arrived += len(chunk)
                    self.advance(len(chunk))
                file.flush()
        finally:
            # What is missing will be announced again by the next attempt.
            self.grow(arrived - told.length)
        if start + arrived != told.total:
            raise _Again(f"{start + arrived} bytes arrived of {told.total}")

    def _checked(self, part: Path, told: _Told) -> dict[str, Any]:
        """Length and hash of the whole file, made durable; the file is thrown away if the hash differs."""
        with open(part, "rb+") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if told.sha256 and found != told.sha256:
                file.truncate(0)
                raise _Spoiled(f"the SHA-256 is {found}, the server named {told.sha256}")
            file.flush()
            os.fsync(file.fileno())
        return {"bytes": told.total, "sha256": found, "verified": bool(told.sha256)}

    def _refused(self, url: str, error: urllib.error.HTTPError, part: Path) -> Exception:
        if error.code == 416:  # the part is longer than the file has become
            part.unlink(missing_ok=True)
            return _Again("the server has no such range", wait_s=0.0)
        if error.code in PASSING:
            return _Again(f"the server answered {error.code} {error.reason}", _retry_after(error.headers))
        return DownloadError(f"{url}: the server answered {error.code} {error.reason}.")


@dataclass(frozen=True)
class _Told:
    """What the server said about a file: bytes to come, first of them, bytes in all, hash, commit."""

    length: int
    start: int
    total: int
    sha256: str
    commit: str


class _Hops(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps the hub's own headers, which the content network does not repeat."""

    def __init__(self) -> None:
        self.linked: dict[str, str] = {}

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        kept = ("x-linked-", "x-repo-commit")
        self.linked |= {name: value for name, value in _lower(headers).items() if name.startswith(kept)}
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def downloaded(path: Path) -> dict[str, Any] | None:
    """The record of a file that ``fetch`` brought here whole, None when it did not."""
    try:
        record = json.loads(path.with_name(path.name + ".json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return record if _size(path) == record["bytes"] else None


def _told(url: str, headers: Mapping[str, str]) -> _Told:
    length = headers.get("content-length", "")
    if not length.isdigit():
        raise DownloadError(f"{url}: the server does not say how long the file is; it cannot be checked.")
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("content-range", ""))
    start, total = (int(span[1]), int(span[2])) if span else (0, int(length))
    tags = (headers.get(name, "").removeprefix("W/").strip('"') for name in ("x-linked-etag", "etag"))
    sha256 = next((tag for tag in tags if re.fullmatch(r"[0-9a-f]{64}", tag)), "")
    return _Told(int(length), start, total, sha256, headers.get("x-repo-commit", ""))


def _retry_after(headers: Any) -> float | None:
    """Seconds asked for by Retry-After, which is a number or a date (RFC 9110, 10.2.3)."""
    asked = (headers.get("Retry-After") or "").strip()
    if asked.isdigit():
        return float(asked)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
