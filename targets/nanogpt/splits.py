"""Which document goes to train, val or holdout: decided once, by content."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpora import Document, Source, is_binary
from dataset import SPLITS, CorpusError

SHARE = 0.08  # of the text for val, and as much for holdout
DROPPED, TRAIN, VAL, HOLDOUT = range(4)
CODES = dict(zip(SPLITS, (TRAIN, VAL, HOLDOUT), strict=True))
MIN_BYTES = 500_000
# Of a split, that one group may be: a split that is mostly one file says how hard that file is. The first of these
# that fills the splits is taken, so that a corpus of few documents can be used too.
LARGEST_PART = (1 / 10, 1 / 4, 1 / 2)


@dataclass(frozen=True)
class Plan:
    """What becomes of every document of a source.

    Args:
        codes: DROPPED, TRAIN, VAL or HOLDOUT for each document, in the source's order.
        corpus_sha256: over the split and the SHA-256 of each document that is used, in order.
        documents: how many are used, by split.
        text_bytes: their UTF-8 bytes, by split.
        skipped: how many are not used, by reason.
        hidden: names of the groups in val and holdout, which a worker must not see, sorted.
    """

    codes: bytes
    corpus_sha256: str
    documents: dict[str, int]
    text_bytes: dict[str, int]
    skipped: dict[str, int]
    hidden: list[str]

    def select(self, source: Source) -> Iterator[tuple[int, Document]]:
        """The documents that are used, each with its code."""
        for code, document in zip(self.codes, source.documents(), strict=False):
            if code:
                yield code, document


def plan(source: Source, limit: int | None, advance: Callable[[int], None]) -> Plan:
    """Read ``source`` once, to its end or until ``limit`` bytes to train on, and decide.

    A group of documents that the source leaves free goes by its hash: in the order of the hashes val is filled to
    SHARE of the text (at most ``source.scored_bytes``, or half of what is free), then holdout, and the rest is for
    training. A group too big for a split (LARGEST_PART of it) is for training, so that no split is a single package.

    Raises:
        CorpusError: there is too little text to train on and to score.
    """
    digests, sizes, groups, fixed = bytearray(), array("q"), array("q"), bytearray()
    names: dict[str, int] = {}
    skipped: Counter[str] = Counter()
    room = limit
    for index, document in enumerate(source.documents()):
        reason = unusable(document.data)
        skipped[reason] += bool(reason)
        digests += hashlib.sha256(document.data).digest()
        sizes.append(0 if reason else len(document.data))
        # Below zero the documents that are their own group, above it the named ones.
        groups.append(-1 - index if document.group is None else names.setdefault(document.group, len(names)))
        fixed.append(CODES[document.split] if document.split else DROPPED)
        advance(len(document.data))
        if room is not None and document.split in (None, "train"):
            room -= sizes[-1]
            if room <= 0:
                break
    table = np.frombuffer(bytes(digests), dtype="V32")
    size = np.array(sizes)
    codes = np.frombuffer(bytes(fixed), dtype=np.uint8).copy()
    # Of equal documents the first counts, or the first that is not free: what a worker may read is not scored.
    order = np.argsort(codes == DROPPED, kind="stable")
    first = np.zeros(len(size), dtype=bool)
    first[order[np.unique(table[order], return_index=True)[1]]] = True
    used = first & (size > 0)
    skipped["duplicate"] = int(np.count_nonzero(~first & (size > 0)))
    free = used & (codes == DROPPED)
    if free.any():
        most = min(SHARE * int(size[used].sum()), int(size[free].sum()) / 2, source.scored_bytes or np.inf)
        codes[free] = by_hash(table, size, np.array(groups), free, most)[free]
    codes[~used] = DROPPED
    scored = {groups[index] for index in np.flatnonzero((codes == VAL) | (codes == HOLDOUT)).tolist()}
    hidden = sorted(name for name, number in names.items() if number in scored)
    return checked(source, table, size, codes, +skipped, hidden)


def unusable(data: bytes) -> str:
    """Why a document is dropped, empty when it is not."""
    if not data.strip():
        return "empty"
    if is_binary(data):
        return "binary"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    return ""


def by_hash(
    table: npt.NDArray[np.void],
    size: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    free: npt.NDArray[np.bool_],
    most: float,
) -> npt.NDArray[np.uint8]:
    """The code of every document that is ``free`` to go anywhere; arrays have one entry a document."""
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero(free).tolist():
        members[int(groups[index])].append(index)

    def key(indices: list[int]) -> bytes:
        if len(indices) == 1:
            return bytes(table[indices[0]])
        return hashlib.sha256(table[indices].tobytes()).digest()

    ordered = [(indices, sum(int(size[index]) for index in indices)) for indices in sorted(members.values(), key=key)]
    codes = np.full(len(size), TRAIN, dtype=np.uint8)
    for part in LARGEST_PART:
        codes[:] = TRAIN
        room = {VAL: most, HOLDOUT: most}
        for indices, weight in ordered:
            for code in room:
                if weight <= min(most * part, room[code]):
                    codes[indices] = code
                    room[code] -= weight
                    break
        if max(room.values()) <= most / 4:
            break
    return codes


def checked(
    source: Source,
    table: npt.NDArray[np.void],
    size: npt.NDArray[np.int64],
    codes: npt.NDArray[np.uint8],
    skipped: Counter[str],
    hidden: list[str],
) -> Plan:
    """The plan, unless there is too little text in it."""
    documents = {split: int(np.count_nonzero(codes == code)) for split, code in CODES.items()}
    text_bytes = {split: int(size[codes == code].sum()) for split, code in CODES.items()}
    total = sum(text_bytes.values())
    if total < MIN_BYTES:
        left_out = ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "nothing"
        raise CorpusError(
            f"The corpus {source.name} ({source.origin}) has {total:,} bytes of text and needs "
            f"{MIN_BYTES:,}. Left out: {left_out}. Use more text, or --corpus stdlib."
        )
    most = min(SHARE * total, source.scored_bytes or np.inf)
    if min(text_bytes["val"], text_bytes["holdout"]) < most / 4:
        raise CorpusError(
            f"The corpus {source.name} ({source.origin}) has {sum(documents.values())} documents, too few or "
            "too unequal to keep some apart for scoring. Cut its text into more files or rows."
        )
    corpus = hashlib.sha256()
    for index in np.flatnonzero(codes).tolist():
        corpus.update(codes[index].tobytes() + table[index].tobytes())
    return Plan(codes.tobytes(), corpus.hexdigest(), documents, text_bytes, dict(skipped), hidden)
