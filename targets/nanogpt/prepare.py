"""Makes the data of this target: text in, token files out.

    python -I prepare.py --corpus stdlib [--vocab N] [--limit-mb M] [--shards K]

Progress goes to stderr; the only line on stdout is a JSON object: the folder of the prepared corpus and
the facts that identify it. A second call finds the folder and returns at once. Two at a time do not
disturb each other, and one that is killed leaves nothing that could be taken for finished.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -I leaves it out

import numpy as np
import numpy.typing as npt

import bpe
from cachedir import cache_root, locked, sync_folder, write_atomic
from corpora import Source, find
from dataset import FILES, FORMAT, SPLITS, Corpus, CorpusError, open_corpus, verify
from progress import Progress
from splits import CODES, TRAIN, Plan, plan

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Corpus", "CorpusError", "open_corpus", "prepare", "verify"]

#: Vocabulary where --vocab does not say: what a small model on a CPU can use, and what autoresearch uses.
VOCAB = {"stdlib": 1024}
OTHER_VOCAB = 8192
#: The merges are learnt from at most about this much text, taken evenly from all of it.
LEARN_BYTES = 128_000_000
#: Text encoded at a time: enough to occupy every core, little enough to bound the memory (some 100 MB).
BATCH_BYTES = 2_000_000


def prepare(
    corpus: str, vocab: int | None = None, limit_mb: float | None = None, shards: int | None = None
) -> dict[str, str]:
    """The facts of the prepared corpus and, as "folder", where it lies; made now if it is not there yet.

    Args:
        corpus: ``stdlib``, ``site-packages``, ``climbmix`` or a path.
        vocab: number of token ids, 257 to 65535; None for the corpus's default.
        limit_mb: use only the first so many million bytes of text; None for all.
        shards: ClimbMix shards to train on; None for the default.

    Raises:
        CorpusError: the text cannot be found, fetched or used.
    """
    vocab = VOCAB.get(corpus, OTHER_VOCAB) if vocab is None else vocab
    if not bpe.MIN_VOCAB <= vocab <= bpe.MAX_VOCAB:
        raise CorpusError(f"--vocab is {vocab}; it has to be {bpe.MIN_VOCAB} to {bpe.MAX_VOCAB}.")
    if limit_mb is not None and not limit_mb > 0:
        raise CorpusError(f"--limit-mb is {limit_mb}; it has to be above 0.")
    limit = None if limit_mb is None else int(limit_mb * 1e6)
    source = find(corpus, shards)
    asked = json.dumps([FORMAT, source.name, source.identity, vocab, limit])
    known = cache_root() / "known" / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"
    if (found := recall(known, source)) is not None:
        return found
    with Progress() as progress:
        other = f"{source.name}: another process is preparing this corpus; waiting for it."
        with locked(known.with_suffix(".lock"), waiting=lambda: progress.say(other)):
            if (found := recall(known, source)) is not None:
                return found
            folder = make(source, vocab, limit, known.stem, progress)
            write_atomic(known, json.dumps({"folder": folder.name}).encode())
    return described(open_corpus(folder), source)


def recall(known: Path, source: Source) -> dict[str, str] | None:
    """What an earlier call with the same input made, None if it is not there or not whole."""
    try:
        return described(open_corpus(cache_root() / json.loads(known.read_bytes())["folder"]), source)
    except (FileNotFoundError, NotADirectoryError, CorpusError):
        return None


def described(corpus: Corpus, source: Source) -> dict[str, str]:
    """``text_path`` is no part of the folder: equal text from another path has the same one."""
    return {"folder": str(corpus.folder), "text_path": source.path, **corpus.facts}


def make(source: Source, vocab: int, limit: int | None, asked: str, progress: Progress) -> Path:
    """Fetch, read, split, learn the tokenizer, encode; the finished folder appears by one rename."""
    fetched = source.fetch(progress)
    progress.stage(f"{source.name}: reading the text")
    chosen = plan(source, limit, progress.advance)
    key = hashlib.sha256(json.dumps([FORMAT, chosen.corpus_sha256, vocab]).encode()).hexdigest()[:12]
    folder = cache_root() / f"{re.sub('[^A-Za-z0-9_-]', '-', source.name)}-{vocab}-{key}"
    if whole(folder):
        return folder
    building = cache_root() / "building" / asked  # this process alone holds that name's lock
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    tokenizer = learn(source, chosen, vocab, progress)
    sha256, tokens = write_tokens(source, chosen, tokenizer, building, progress)
    meta = {
        "format": FORMAT,
        "corpus": source.name,
        "origin": source.origin,
        "fetched": fetched,
        "corpus_sha256": chosen.corpus_sha256,
        "vocab_size": vocab,
        "bos": 0,
        "documents": chosen.documents,
        "text_bytes": chosen.text_bytes,
        "tokens": tokens,
        "skipped": chosen.skipped,
        "hidden": chosen.hidden,
        "files": {name: {"bytes": (building / name).stat().st_size, "sha256": sha256[name]} for name in FILES},
        "versions": versions(),
    }
    write_atomic(building / "meta.json", json.dumps(meta, indent=1).encode())
    verify(building)
    publish(building, folder)
    progress.say(f"{source.name}: {sum(tokens.values()):,} tokens in {folder}")
    return folder


def learn(source: Source, chosen: Plan, vocab: int, progress: Progress) -> Tokenizer:
    """The tokenizer, learnt from training documents alone."""
    every = -(-chosen.text_bytes["train"] // LEARN_BYTES)
    progress.stage(f"{source.name}: learning {vocab} tokens", chosen.text_bytes["train"] // every)

    def texts() -> Iterator[str]:
        training = (document.data for code, document in chosen.select(source) if code == TRAIN)
        for index, data in enumerate(training):
            if index % every == 0:
                progress.advance(len(data))
                yield text_of(data, source)

    return bpe.train(texts(), vocab)


def write_tokens(
    source: Source, chosen: Plan, tokenizer: Tokenizer, folder: Path, progress: Progress
) -> tuple[dict[str, str], dict[str, int]]:
    """Write every file but meta.json; their SHA-256 by name, and the tokens by split."""
    text = tokenizer.to_str()
    lengths = bpe.byte_lengths(text)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    np.save(folder / "token_bytes.npy", lengths)
    progress.stage(f"{source.name}: encoding", sum(chosen.text_bytes.values()))
    corpus = hashlib.sha256()
    writers = {code: Writer(folder / f"{split}.bin", tokenizer, lengths) for split, code in CODES.items()}
    for code, document in chosen.select(source):
        corpus.update(bytes([code]) + hashlib.sha256(document.data).digest())
        writers[code].add(text_of(document.data, source), len(document.data))
        progress.advance(len(document.data))
    for writer in writers.values():
        writer.close()
    if corpus.hexdigest() != chosen.corpus_sha256:
        raise changed(source)
    sha256 = {}
    for name in FILES:
        with open(folder / name, "rb+") as file:
            sha256[name] = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    return sha256, {split: writers[CODES[split]].tokens for split in SPLITS}


class Writer:
    """Encodes documents into one token file, a batch at a time."""

    def __init__(self, path: Path, tokenizer: Tokenizer, lengths: npt.NDArray[np.int32]) -> None:
        self._file = open(path, "wb")
        self._tokenizer = tokenizer
        self._lengths = lengths
        self._texts: list[str] = []
        self._bytes = 0
        self.tokens = 0

    def add(self, text: str, size: int) -> None:
        """``text``, of ``size`` UTF-8 bytes."""
        self._texts.append(text)
        self._bytes += size
        if self._bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        ids = bpe.encode(self._tokenizer, self._texts)
        # Bits per byte are only as true as this: the tokens stand for the bytes of the text, one for one.
        stood_for = int(self._lengths[ids].sum(dtype=np.int64))
        if stood_for != self._bytes:
            raise CorpusError(f"{self._bytes} bytes became tokens for {stood_for}; please report this text.")
        self._file.write(ids.tobytes())
        self.tokens += len(ids)
        self._texts, self._bytes = [], 0

    def close(self) -> None:
        if self._texts:
            self._flush()
        self._file.close()


def publish(building: Path, folder: Path) -> None:
    """Give the finished folder its name; a damaged one of that name makes room."""
    if folder.exists() and not whole(folder):
        damaged = building.with_name(building.name + ".damaged")
        shutil.rmtree(damaged, ignore_errors=True)
        folder.rename(damaged)
        shutil.rmtree(damaged)
    try:
        building.rename(folder)
    except OSError:
        # Equal text from another path was finished a moment ago: equal names, equal bytes.
        if not whole(folder):
            raise
        shutil.rmtree(building)
    sync_folder(folder.parent)


def whole(folder: Path) -> bool:
    try:
        open_corpus(folder)
    except CorpusError:
        return False
    return True


def text_of(data: bytes, source: Source) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:  # it was UTF-8 when the split was planned
        raise changed(source) from None


def changed(source: Source) -> CorpusError:
    return CorpusError(f"{source.origin} changed while it was being read. Run again.")


def versions() -> dict[str, str]:
    import tokenizers

    python = platform.python_version()
    return {"python": python, "numpy": np.__version__, "tokenizers": tokenizers.__version__}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Prepare the data of the nanogpt target.")
    parser.add_argument("--corpus", required=True, help="stdlib, site-packages, climbmix or a path")
    parser.add_argument("--vocab", type=int, help="token ids (1024 for stdlib, else 8192)")
    parser.add_argument("--limit-mb", type=float, help="use only the first so many MB of text")
    parser.add_argument("--shards", type=int, help="climbmix shards to train on (8)")
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    try:
        print(json.dumps(prepare(**given)), flush=True)
    except CorpusError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"prepare.py: {error}. The cache is {cache_root()}; LOOPER_CACHE moves it.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("prepare.py: stopped; what was downloaded is kept.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
