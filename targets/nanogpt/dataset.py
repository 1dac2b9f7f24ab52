"""A prepared corpus on disk: its files, opening it, verifying it. Needs nothing but numpy.

train.bin, val.bin, holdout.bin   uint16, little endian; every document begins with BOS
token_bytes.npy                   int32, shape (vocab,): UTF-8 bytes that each token stands for
tokenizer.json                    byte-level BPE, as the ``tokenizers`` package reads it
meta.json                         counts, hashes, versions, where the text came from, what to hide from a worker
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: Raised whenever the same text would be prepared into other bytes; part of every folder's name.
FORMAT = 3
SPLITS = ("train", "val", "holdout")
FILES = ("train.bin", "val.bin", "holdout.bin", "token_bytes.npy", "tokenizer.json")
TOKENS = np.dtype("<u2")


class CorpusError(Exception):
    """The text or the folder cannot be used as it is; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A prepared corpus.

    Args:
        folder: where it lies.
        train, val, holdout: token ids, uint16, shape (tokens,), read-only memory maps.
        token_bytes: int32, shape (vocab_size,); UTF-8 bytes of each token, 0 for ``bos``.
        bos: the id that begins every document.
        vocab_size: number of token ids.
        hidden: modules and folders whose text is in val and holdout, relative to where Python looks for modules.
        facts: what identifies the data, fit for ``looper_prepare``: equal facts, equal bytes.
    """

    folder: Path
    train: npt.NDArray[np.uint16]
    val: npt.NDArray[np.uint16]
    holdout: npt.NDArray[np.uint16]
    token_bytes: npt.NDArray[np.int32]
    bos: int
    vocab_size: int
    hidden: tuple[str, ...]
    facts: Mapping[str, str]


def open_corpus(folder: Path | str) -> Corpus:
    """The corpus in ``folder``, after checking that every file is there and has its size.

    Takes milliseconds whatever the size; ``verify`` checks the contents.

    Raises:
        CorpusError: something is missing, has another size, or was written by another version.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    for name in FILES:
        size = _size(folder / name)
        if size != meta["files"][name]["bytes"]:
            raise _damaged(folder, f"{name} has {size} bytes instead of {meta['files'][name]['bytes']}")
    token_bytes = np.load(folder / "token_bytes.npy", mmap_mode="r", allow_pickle=False)
    if token_bytes.shape != (meta["vocab_size"],) or token_bytes.dtype != np.int32:
        raise _damaged(folder, f"token_bytes.npy is not an int32 array of {meta['vocab_size']}")
    train, val, holdout = (np.memmap(folder / f"{split}.bin", dtype=TOKENS, mode="r") for split in SPLITS)
    return Corpus(
        folder=folder,
        train=train,
        val=val,
        holdout=holdout,
        token_bytes=token_bytes,
        bos=meta["bos"],
        vocab_size=meta["vocab_size"],
        hidden=tuple(meta["hidden"]),
        facts=facts(meta),
    )


def facts(meta: Mapping[str, Any]) -> dict[str, str]:
    """What identifies the data that ``meta`` describes."""
    return {
        "corpus": meta["corpus"],
        "corpus_sha256": meta["corpus_sha256"],
        "tokenizer_sha256": meta["files"]["tokenizer.json"]["sha256"],
        "vocab": str(meta["vocab_size"]),
        "format": str(meta["format"]),
        "tokenizers": meta["versions"]["tokenizers"],
    }


def verify(folder: Path | str) -> None:
    """Hash every file in ``folder`` and compare with what was written down when it was made.

    Raises:
        CorpusError: a file is missing or its contents have changed.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    for name in FILES:
        _size(folder / name)
        with open(folder / name, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != meta["files"][name]["sha256"]:
            raise _damaged(folder, f"the contents of {name} have changed (sha256 {found})")


def read_meta(folder: Path) -> dict[str, Any]:
    """meta.json, checked as far as the other functions rely on it."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
    except FileNotFoundError:
        raise CorpusError(f"{folder} holds no prepared corpus. Make one with prepare.py.") from None
    except ValueError:
        raise _damaged(folder, "meta.json cannot be read") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise CorpusError(f"{folder} was prepared by another version. Run prepare.py again.")
    return meta


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise _damaged(path.parent, f"{path.name} is missing") from None


def _damaged(folder: Path, what: str) -> CorpusError:
    return CorpusError(f"The corpus in {folder} is damaged: {what}. Delete it and run prepare.py again.")
