"""The tokenizer: byte-level BPE, and the true number of bytes that each of its tokens stands for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dataset import CorpusError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BOS = "<|bos|>"
MIN_VOCAB = 257  # 256 bytes and BOS
MAX_VOCAB = 65535  # ids are stored as uint16

#: Where a merge may not cross: the pattern of tiktoken's cl100k_base with digits in groups of at most
#: two, as nanochat and autoresearch have it, so that their bits per byte can be set beside ours.
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)


def train(texts: Iterable[str], vocab: int) -> Tokenizer:
    """A tokenizer of exactly ``vocab`` tokens learnt from ``texts``; BOS has id 0.

    The result depends on the texts alone, not on their order or the number of threads.

    Raises:
        CorpusError: the texts do not hold that many different merges, or ``tokenizers`` is missing.
    """
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise CorpusError(
            "The package tokenizers is not installed. Install it: pip install 'looper-lab[nanogpt]'."
        ) from None
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab:
        raise CorpusError(
            f"The text is too uniform for a vocabulary of {vocab}: it ends at {tokenizer.get_vocab_size()} "
            "tokens. Use more text or a smaller --vocab."
        )
    # Text that happens to contain "<|bos|>" is text, not the special token.
    tokenizer.encode_special_tokens = True
    return tokenizer


def byte_strings(tokenizer_json: str) -> list[bytes]:
    """The raw bytes of every token, by id; empty for BOS.

    A token may be a part of a UTF-8 character. Decoding it to a string and encoding that again would
    give the three bytes of U+FFFD; its own bytes come from undoing the byte alphabet.
    """
    back = {char: byte for byte, char in enumerate(_byte_alphabet())}
    tokens = sorted(json.loads(tokenizer_json)["model"]["vocab"].items(), key=lambda item: item[1])
    if [index for _, index in tokens] != list(range(len(tokens))):
        raise CorpusError("The tokenizer's ids are not 0 … n-1; it was not made by prepare.py.")
    return [b"" if token == BOS else bytes(back[char] for char in token) for token, _ in tokens]


def byte_lengths(tokenizer_json: str) -> npt.NDArray[np.int32]:
    """Bytes that each token stands for: int32, shape (vocab,); 0 for BOS."""
    return np.array([len(token) for token in byte_strings(tokenizer_json)], dtype=np.int32)


def encode(tokenizer: Tokenizer, texts: list[str]) -> npt.NDArray[np.uint16]:
    """``texts`` one after another, each behind a BOS: uint16 ids, shape (tokens,)."""
    ids: list[int] = []
    for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
        ids.append(0)
        ids += encoding.ids
    return np.array(ids, dtype="<u2")


def _byte_alphabet() -> list[str]:
    """The printable character that stands for each byte, by byte: GPT-2's alphabet.

    Printable bytes of Latin-1 stand for themselves, the others for the characters from U+0100 on.
    """
    itself = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in itself else chr(next(others)) for byte in range(256)]
