"""Text that the nanogpt target cannot use: one message that says why."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "targets" / "nanogpt"))

import corpora
import dataset
import prepare


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPER_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("name", "content", "arguments", "said"),
    [
        ("none", None, [], "There is no corpus"),
        ("a.txt", b"too little", [], "has 10 bytes of text and needs 500,000"),
        ("a.txt", b"\0", [], "Left out: 1 binary"),
        ("a.txt", b"x", ["--vocab", "65536"], "--vocab is 65536; it has to be 257 to 65535"),
        ("a.txt", b"x", ["--vocab", "256"], "--vocab is 256"),
        ("a.txt", b"x", ["--limit-mb", "0"], "--limit-mb is 0"),
        ("a.txt", b"x", ["--shards", "2"], "--shards is for climbmix"),
        ("a.txt", b"".join(b"%d\n" % n for n in range(90_000)), ["--vocab", "60000"], "smaller --vocab"),
        ("a.txt", b"one line " * 90_000, [], "1 documents, too few"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', [], "a.jsonl:2 is not JSON"),
        ("a.jsonl", b'{"body": "a"}\n', [], "a.jsonl:1 has no text"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 999, mtime=0)[:-9], [], "is not a whole gzip file"),
        ("a.parquet", b"PAR1 and no more", [], "a.parquet cannot be read as Parquet"),
    ],
)
def test_bad_input_gets_one_message(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    arguments: list[str],
    said: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert prepare.main(["--corpus", str(tmp_path / name), *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err.splitlines()[-1]
    assert captured.out == ""


def test_a_parquet_file_without_text_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(dataset.CorpusError, match='no column "text"; it has body'):
        prepare.prepare(str(tmp_path / "a.parquet"))


def test_a_python_without_sources_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "os.py").write_text("pass")
    with pytest.raises(dataset.CorpusError, match=r"does not ship them\. Use another Python"):
        corpora.stdlib(tmp_path)


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LOOPER_CACHE", str(tmp_path / "file"))
    assert prepare.main(["--corpus", "stdlib"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert str(tmp_path / "file") in said
    assert "LOOPER_CACHE" in said
