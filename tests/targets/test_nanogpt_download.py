"""Fetching the shards of ClimbMix, from a real HTTP server on loopback that misbehaves on request."""

from __future__ import annotations

import email.utils
import hashlib
import http.server
import json
import random
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "targets" / "nanogpt"))

import bpe
import dataset
import prepare
from download import Download, DownloadError

BODY = random.Random(7).randbytes(300_000)


class Hub(http.server.ThreadingHTTPServer):
    """Serves ``files`` the way the hub does: /hub/<name> redirects to /net/<name> and names the hash.

    ``faults`` says what goes wrong, one entry a request for the file, first to last:
    "500", "404", "429 <Retry-After>", "cut" (half of the body), "spoil" (other bytes of that length),
    "no hash" (on the redirect and after it), "ok".
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"a.bin": BODY}
        self.faults: list[str] = []
        self.asked: list[tuple[str, str | None]] = []  # name and Range of every request
        self.url = f"http://127.0.0.1:{self.server_port}/hub"

    def handle_error(self, *_: object) -> None:
        """Some answers are not wanted to their end; that is no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        _, kind, name = self.path.split("/")
        if kind == "hub":
            return self._redirect(name)
        body = self.server.files[name]
        fault = self.server.faults.pop(0) if self.server.faults else "ok"
        start = int(re.findall(r"\d+", self.headers.get("Range", "0"))[0])
        if start >= len(body):
            return self._empty(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if fault == "spoil":
            body = bytes(byte ^ 1 for byte in body)
        self.wfile.write(body[start : start + (len(body) - start) // 2] if fault == "cut" else body[start:])
        self.close_connection = True

    def _redirect(self, name: str) -> None:
        self.server.asked.append((name, self.headers.get("Range")))
        fault = self.server.faults[0] if self.server.faults else "ok"
        if name not in self.server.files:
            return self._empty(404)
        if fault[:1].isdigit():
            status, _, retry_after = self.server.faults.pop(0).partition(" ")
            return self._empty(int(status), **({"Retry-After": retry_after} if retry_after else {}))
        tag = {"X-Linked-ETag": f'"{hashlib.sha256(self.server.files[name]).hexdigest()}"'}
        headers = {"Location": f"/net/{name}", "X-Repo-Commit": "abc123"}
        return self._empty(302, **headers, **({} if fault == "no hash" else tag))

    def _empty(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(hub: Hub, path: Path, wait_s: float = 0.001) -> dict[str, object]:
    return Download(wait_s=wait_s).fetch(f"{hub.url}/a.bin", path)


def test_a_file_is_fetched_once_and_its_hash_is_recorded(hub: Hub, tmp_path: Path) -> None:
    seen: list[int] = []
    download = Download(grow=seen.append, advance=lambda count: seen.append(-count))
    record = download.fetch(f"{hub.url}/a.bin", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert record == {
        "url": f"{hub.url}/a.bin",
        "bytes": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "verified": True,
        "commit": "abc123",
    }
    assert sum(seen) == 0  # all that was announced arrived
    assert fetch(hub, tmp_path / "a") == record
    assert hub.asked == [("a.bin", None)]


@pytest.mark.parametrize(
    ("faults", "ranges"),
    [
        (["cut"], [None, "bytes=150000-"]),
        (["cut", "cut"], [None, "bytes=150000-", "bytes=225000-"]),
        (["spoil"], [None, None]),
        (["500", "500"], [None, None, None]),
        (["cut", "503"], [None, "bytes=150000-", "bytes=150000-"]),
        (["no hash"], [None]),
        # Without a hash the second half could be another file's: fetched again from its beginning.
        (["cut", "no hash", "no hash"], [None, "bytes=150000-", None]),
    ],
)
def test_what_goes_wrong_for_a_moment_is_mended(
    hub: Hub, tmp_path: Path, faults: list[str], ranges: list[str | None]
) -> None:
    hub.faults = list(faults)
    record = fetch(hub, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert record["verified"] == ("no hash" not in faults)
    assert [asked for _, asked in hub.asked] == ranges
    assert not (tmp_path / "a.part").exists()


@pytest.mark.parametrize("when", ["0", email.utils.formatdate(0, usegmt=True)])
def test_retry_after_replaces_our_own_pause(hub: Hub, tmp_path: Path, when: str) -> None:
    hub.faults = [f"429 {when}"]
    fetch(hub, tmp_path / "a", wait_s=10_000)  # our own pause would not end within the test's time limit
    assert len(hub.asked) == 2


@pytest.mark.parametrize(
    ("faults", "said", "requests"),
    [
        (["404"], "the server answered 404", 1),
        (["429 99999"], "asks to come back in 99999 s", 1),
        (["500"] * 20, "the server answered 500", 6),
        (["spoil"] * 20, "the server named " + hashlib.sha256(BODY).hexdigest(), 3),
    ],
)
def test_what_does_not_pass_is_an_error(hub: Hub, tmp_path: Path, faults: list[str], said: str, requests: int) -> None:
    hub.faults = list(faults)
    with pytest.raises(DownloadError, match=re.escape(said)):
        fetch(hub, tmp_path / "a")
    assert len(hub.asked) == requests
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("part", "ranges"),
    [
        (BODY[:100_000], ["bytes=100000-"]),
        (b"another file", ["bytes=12-", None]),
        (BODY + b"more", ["bytes=300004-", None]),
    ],
)
def test_a_part_left_by_a_killed_download_is_resumed_or_thrown_away(
    hub: Hub, tmp_path: Path, part: bytes, ranges: list[str | None]
) -> None:
    (tmp_path / "a.part").write_bytes(part)
    fetch(hub, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY
    assert [asked for _, asked in hub.asked] == ranges


def test_one_failure_ends_the_whole_batch(hub: Hub, tmp_path: Path) -> None:
    files = [(f"{hub.url}/{name}", tmp_path / name) for name in ("a.bin", "missing", "a.bin", "a.bin")]
    with pytest.raises(DownloadError, match="/missing: the server answered 404"):
        Download(wait_s=0.001).fetch_all(files)


# --- ClimbMix -------------------------------------------------------------------------------------------


def shard(seed: int, path: Path, extra: list[str]) -> tuple[bytes, list[bytes]]:
    draw = random.Random(seed)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 8))) for _ in range(500)]
    documents = [" ".join(draw.choices(words, k=400)) for _ in range(130)] + extra
    pq.write_table(pa.table({"text": documents}), path, row_group_size=64)
    return path.read_bytes(), [text.encode() for text in documents]


def test_climbmix_trains_on_its_first_shards_and_scores_the_pinned_ones(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOOPER_CLIMBMIX_URL", hub.url)
    texts = {}
    for number in (6542, 6541, 1, 0):
        extra = [texts[6542][5].decode()] if number == 0 else []  # a validation text among the training texts
        name = f"shard_{number:05d}.parquet"
        hub.files[name], texts[number] = shard(number, tmp_path / name, extra)

    facts = prepare.prepare("climbmix", vocab=500, shards=2)
    assert sorted(name for name, _ in hub.asked) == sorted(hub.files.keys() - {"a.bin"})
    corpus = dataset.open_corpus(facts["folder"])
    strings = bpe.byte_strings((corpus.folder / "tokenizer.json").read_text(encoding="utf-8"))

    def read(split: str) -> bytes:
        return b"|".join(strings[token] or b"\n" for token in getattr(corpus, split)).replace(b"|", b"")

    assert read("val") == b"".join(b"\n" + text for text in texts[6542])
    assert read("holdout") == b"".join(b"\n" + text for text in texts[6541])
    assert read("train") == b"".join(b"\n" + text for text in texts[0][:-1] + texts[1])

    meta = json.loads((corpus.folder / "meta.json").read_bytes())
    assert meta["skipped"] == {"duplicate": 1}
    assert [record["sha256"] for record in meta["fetched"]] == [
        hashlib.sha256(hub.files[f"shard_{number:05d}.parquet"]).hexdigest() for number in (6542, 6541, 0, 1)
    ]
    hub.asked.clear()
    assert prepare.prepare("climbmix", vocab=500, shards=2) == facts
    assert prepare.prepare("climbmix", vocab=300, shards=2)["corpus_sha256"] == facts["corpus_sha256"]
    assert hub.asked == []


def test_without_a_network_climbmix_names_what_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("LOOPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOOPER_CLIMBMIX_URL", f"http://127.0.0.1:{port}/hub")
    assert prepare.main(["--corpus", "climbmix", "--shards", "1"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"127.0.0.1:{port} cannot be reached" in said
    assert "use --corpus stdlib" in said


@pytest.mark.parametrize(
    ("shards", "url", "said"),
    [
        (0, "http://localhost", "--shards is 0; climbmix has 1 to 6541"),
        (6542, "http://localhost", "--shards is 6542"),
        (1, "ftp://localhost", "has to begin with https:// or http://"),
    ],
)
def test_what_climbmix_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch, shards: int, url: str, said: str) -> None:
    monkeypatch.setenv("LOOPER_CLIMBMIX_URL", url)
    with pytest.raises(dataset.CorpusError, match=re.escape(said)):
        prepare.prepare("climbmix", shards=shards)
