"""The data of the nanogpt target: real files in, token files out, by the real script."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "targets" / "nanogpt"))

import bpe
import corpora
import dataset
import prepare
import splits
import withheld

NANOGPT = Path(prepare.__file__).parent


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOPER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "looper" / "nanogpt"


def texts(count: int, seed: int = 0, size: int = 4000) -> list[str]:
    """``count`` different documents of about ``size`` bytes: made-up words, digits, several scripts."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 8))) for _ in range(2000)]
    words += ["naïve", "Größe", "日本語", "мир", "😀", "12345", "<|bos|>", "\n", "    "]
    return [" ".join(draw.choices(words, k=size // 6)) for _ in range(count)]


def folder_of(path: Path, documents: list[str | bytes]) -> Path:
    path.mkdir()
    for number, text in enumerate(documents):
        data = text if isinstance(text, bytes) else text.encode()
        (path / f"{number:04d}.txt").write_bytes(data)
    return path


def strings_of(corpus: dataset.Corpus) -> list[bytes]:
    return bpe.byte_strings((corpus.folder / "tokenizer.json").read_text(encoding="utf-8"))


def documents_of(corpus: dataset.Corpus, split: str) -> list[bytes]:
    """What the tokens of ``split`` stand for, by their raw bytes, one entry a document."""
    strings = strings_of(corpus)
    tokens = getattr(corpus, split)
    starts = np.flatnonzero(tokens == corpus.bos)
    assert starts[0] == 0
    return [b"".join(strings[token] for token in part) for part in np.split(tokens, starts[1:])]


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def script(*arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", *flags, str(NANOGPT / "prepare.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# --- From text to tokens --------------------------------------------------------------------------------


def test_the_tokens_are_the_documents_byte_for_byte(tmp_path: Path) -> None:
    wanted = [text.encode() for text in texts(150)]
    facts = prepare.prepare(str(folder_of(tmp_path / "text", list(wanted))), vocab=600)
    corpus = dataset.open_corpus(facts["folder"])

    found = {split: documents_of(corpus, split) for split in dataset.SPLITS}
    assert Counter(data for part in found.values() for data in part) == Counter(wanted)
    assert not any(set(found["train"]) & set(found[split]) for split in ("val", "holdout"))

    total = sum(map(len, wanted))
    for split in dataset.SPLITS:
        size = sum(map(len, found[split]))
        assert int(corpus.token_bytes[getattr(corpus, split)].sum()) == size
        share = 0.84 if split == "train" else 0.08
        assert abs(size / total - share) < 0.02
    # The case that decoding and encoding again gets wrong: tokens that are a part of a character.
    parts = [token for token, string in enumerate(strings_of(corpus)) if not is_text(string)]
    assert np.isin(corpus.train, parts).any()
    assert corpus.token_bytes[corpus.bos] == 0
    assert corpus.token_bytes[1:257].tolist() == [1] * 256


def test_an_opened_corpus_is_typed_and_cannot_be_written(tmp_path: Path) -> None:
    facts = prepare.prepare(str(folder_of(tmp_path / "text", list(texts(150)))), vocab=500)
    corpus = dataset.open_corpus(facts.pop("folder"))
    assert facts.pop("text_path") == str(tmp_path / "text")
    assert corpus.facts == facts
    assert corpus.vocab_size == 500
    assert corpus.token_bytes.shape == (500,)
    assert corpus.token_bytes.dtype == np.int32
    for split in dataset.SPLITS:
        tokens = getattr(corpus, split)
        assert tokens.dtype == np.uint16
        assert int(tokens.max()) < 500
        with pytest.raises(ValueError, match="read-only"):
            tokens[0] = 1


def test_the_tokenizer_does_not_depend_on_the_order_of_the_text() -> None:
    some = texts(60)
    assert bpe.train(some, 500).to_str() == bpe.train(reversed(some), 500).to_str()


def test_the_byte_alphabet_is_the_one_that_the_tokenizer_uses() -> None:
    # Every byte that occurs in UTF-8, through the tokenizer and back.
    text = "".join(map(chr, [*range(0x250), *range(0x250, 0x11000, 7), *range(0x10000, 0x110000, 4099)]))
    text = text.encode("utf-8", "ignore").decode()
    tokenizer = bpe.train([text], 300)
    strings = bpe.byte_strings(tokenizer.to_str())
    ids = bpe.encode(tokenizer, [text])
    assert b"".join(strings[token] for token in ids) == text.encode()


# --- Sources --------------------------------------------------------------------------------------------


def test_every_kind_of_file_gives_the_same_corpus(tmp_path: Path) -> None:
    some = texts(150)
    lines = [json.dumps({"id": 1, "text": text}) for text in some[:-1]]
    lines.append(json.dumps({"content": some[-1]}, ensure_ascii=False))
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n\n".join(lines))
    pq.write_table(pa.table({"text": some}), tmp_path / "c.parquet", row_group_size=50)
    folder_of(tmp_path / "d", list(some))
    plans = [
        splits.plan(corpora.find(str(tmp_path / name)), None, lambda count: None)
        for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "d")
    ]
    assert len({plan.corpus_sha256 for plan in plans}) == 1
    assert plans[0].documents == plans[3].documents


def test_what_is_no_text_is_left_out_and_counted(tmp_path: Path) -> None:
    some: list[str | bytes] = [*texts(150)]
    odd = [b"broken \xff text", b"", b" \n ", b"\x7fELF\0\0", some[3], some[3]]
    path = folder_of(tmp_path / "text", some + odd)
    (path / ".hidden").write_text("never read")
    (path / "rows.jsonl").write_bytes(b'{"text": "\\ud800"}\n{"text": "\xff"}\n{"text": null}\n')
    plan = splits.plan(corpora.find(str(path)), None, lambda count: None)
    assert plan.skipped == {"not UTF-8": 3, "empty": 3, "binary": 1, "duplicate": 2}
    assert sum(plan.documents.values()) == 150


def test_a_single_text_file_gives_documents_to_every_split(tmp_path: Path) -> None:
    text = "\n".join(texts(150)).replace(" ", "\n").encode() + "ß".encode()
    (tmp_path / "book.txt").write_bytes(text)
    source = corpora.find(str(tmp_path / "book.txt"))
    assert b"".join(document.data for document in source.documents()) == text
    plan = splits.plan(source, None, lambda count: None)
    assert min(plan.documents.values()) >= 5


def test_the_standard_library_is_split_by_whole_packages() -> None:
    source = corpora.find("stdlib")
    plan = splits.plan(source, None, lambda count: None)
    where: dict[str | None, set[int]] = {}
    sizes: Counter[tuple[int, str | None]] = Counter()
    for code, document in plan.select(source):
        where.setdefault(document.group, set()).add(code)
        sizes[code, document.group] += len(document.data)
    assert {len(codes) for codes in where.values()} == {1}
    for split in ("val", "holdout"):
        code = splits.CODES[split]
        assert {name for name, codes in where.items() if codes == {code}} <= withheld.UNUSED
        # several packages, not a single one
        assert max(size for (own, _), size in sizes.items() if own == code) <= plan.text_bytes[split] / 2
    assert plan.hidden == sorted(name for name, codes in where.items() if name and codes != {splits.TRAIN})
    assert {"test", "idlelib", "lib2to3", "site-packages"}.isdisjoint(where)
    assert not {"json", "argparse"} & set(plan.hidden)


def test_scored_text_is_capped_and_the_rest_is_trained_on(tmp_path: Path) -> None:
    source = corpora.find(str(folder_of(tmp_path / "text", list(texts(150)))))
    capped = corpora.Source("capped", "", (), source.documents, scored_bytes=30_000)
    plan = splits.plan(capped, None, lambda count: None)
    free = splits.plan(source, None, lambda count: None)
    assert 20_000 < plan.text_bytes["val"] <= 30_000 < free.text_bytes["val"]
    assert sum(plan.text_bytes.values()) == sum(free.text_bytes.values())


def test_site_packages_names_installed_source() -> None:
    source = corpora.find("site-packages")
    assert any("numpy" in str(entry[0]) for entry in source.identity)
    assert sysconfig.get_path("purelib") in source.origin


# --- The script -----------------------------------------------------------------------------------------


def test_the_script_prints_one_line_and_is_fast_the_second_time() -> None:
    arguments = ("--corpus", "stdlib", "--limit-mb", "1", "--vocab", "400")
    first = script(*arguments)
    assert first.returncode == 0, first.stderr
    facts = json.loads(first.stdout)
    assert first.stdout.count("\n") == 1
    assert (facts["corpus"], facts["vocab"]) == ("stdlib", "400")
    dataset.verify(facts["folder"])
    assert "stdlib: learning 400 tokens" in first.stderr

    second = script(*arguments, flags=("-X", "importtime"))
    assert second.stdout == first.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in second.stderr.splitlines()}
    assert "numpy" in imported
    assert imported.isdisjoint({"tokenizers", "pyarrow", "rich"})


def test_a_touched_file_is_read_again_and_a_changed_one_makes_another_corpus(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "text", list(texts(150)))
    first = prepare.prepare(str(path), vocab=300)
    os.utime(path / "0000.txt", (1, 1))
    assert prepare.prepare(str(path), vocab=300) == first
    (path / "0000.txt").write_text("something else")
    assert prepare.prepare(str(path), vocab=300)["corpus_sha256"] != first["corpus_sha256"]


def test_a_damaged_corpus_is_noticed_and_made_again(tmp_path: Path) -> None:
    path = str(folder_of(tmp_path / "text", list(texts(150))))
    facts = prepare.prepare(path, vocab=300)
    train = Path(facts["folder"], "train.bin")
    whole = train.read_bytes()

    train.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    dataset.open_corpus(train.parent)  # the size is right
    with pytest.raises(dataset.CorpusError, match=r"contents of train\.bin have changed"):
        dataset.verify(train.parent)

    train.write_bytes(whole[:-2])
    with pytest.raises(dataset.CorpusError, match=r"train\.bin has \d+ bytes instead of"):
        dataset.open_corpus(train.parent)
    train.unlink()
    with pytest.raises(dataset.CorpusError, match=r"train\.bin is missing"):
        dataset.open_corpus(train.parent)

    assert prepare.prepare(path, vocab=300) == facts
    assert train.read_bytes() == whole
    with pytest.raises(dataset.CorpusError, match="holds no prepared corpus"):
        dataset.open_corpus(tmp_path)


def test_several_at_once_make_one_corpus(tmp_path: Path, cache: Path) -> None:
    path = folder_of(tmp_path / "text", list(texts(150)))
    (tmp_path / "other").mkdir()
    equal = folder_of(tmp_path / "other" / "text", list(texts(150)))
    command = [sys.executable, "-I", str(NANOGPT / "prepare.py"), "--vocab", "400", "--corpus"]
    started = [
        subprocess.Popen([*command, str(corpus)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for corpus in (path, path, equal)
    ]
    answers = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len({json.loads(answer)["folder"] for answer in answers}) == 1
    made = [entry.name for entry in cache.iterdir() if entry.name.startswith("text-")]
    assert len(made) == 1
    dataset.verify(cache / made[0])


def test_a_killed_preparation_is_done_again(tmp_path: Path, cache: Path) -> None:
    path = folder_of(tmp_path / "text", list(texts(200)))
    command = [sys.executable, "-I", str(NANOGPT / "prepare.py"), "--vocab", "2000", "--corpus", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while not any(cache.glob("building/*")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[0] == b""
    assert not list(cache.glob("text-*"))
    facts = prepare.prepare(str(path), vocab=2000)
    dataset.verify(facts["folder"])
    assert not list(cache.glob("building/*"))
