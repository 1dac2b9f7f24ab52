"""The metric of the nanogpt target: which tokens are scored, and bits per byte against float64 by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "targets" / "nanogpt"))

import audits
import scoring
import weights

VOCAB, BOS, CONTEXT, BATCH = 50, 0, 16, 4


def stream(tokens: int, seed: int = 0) -> np.ndarray:
    """Documents of 5 to 60 tokens, each with BOS in front."""
    draw = np.random.default_rng(seed)
    out = draw.integers(1, VOCAB, size=tokens).astype(np.uint16)
    at = 0
    while at < tokens:
        out[at] = BOS
        at += int(draw.integers(5, 60))
    return out


def token_bytes(seed: int = 1) -> np.ndarray:
    sizes = np.random.default_rng(seed).integers(1, 9, size=VOCAB).astype(np.int32)
    sizes[BOS] = 0
    return sizes


def rows_of(tokens: int = 4000, count: int = 64) -> scoring.Rows:
    return scoring.cut_rows(stream(tokens), token_bytes(), BOS, CONTEXT, count, BATCH)


@settings(max_examples=30)
@given(tokens=st.integers(400, 5000), count=st.integers(BATCH, 300))
def test_rows_are_pieces_of_the_text_begin_with_bos_and_never_score_it(tokens: int, count: int) -> None:
    text = stream(tokens)
    rows = scoring.cut_rows(text, token_bytes(), BOS, CONTEXT, count, BATCH)

    assert len(rows.inputs) % BATCH == 0
    assert len(rows.inputs) <= count
    assert (rows.inputs[:, 0] == BOS).all()
    assert (rows.inputs[:, 1:] == rows.targets[:, :-1]).all()
    pieces = {piece.tobytes() for piece in text[: tokens // CONTEXT * CONTEXT].reshape(-1, CONTEXT).astype(np.int64)}
    assert all(row.tobytes() in pieces for row in rows.targets)
    assert (rows.scored == (rows.targets != BOS)).all()
    assert rows.bytes == sum(int(token_bytes()[token]) for token in rows.targets.flat)


def test_rows_reach_from_one_end_of_the_text_to_the_other() -> None:
    text = stream(4000)
    rows = scoring.cut_rows(text, token_bytes(), BOS, CONTEXT, 64, BATCH)
    assert (rows.targets[0] == text[:CONTEXT]).all()
    assert (rows.targets[-1] == text[: 4000 // CONTEXT * CONTEXT][-CONTEXT:]).all()


def test_spare_rows_are_never_scored() -> None:
    rows = rows_of(count=10**6)
    scored = {row.tobytes() for row in rows.inputs}
    assert len(rows.spare) >= 4000 // CONTEXT // 8
    assert not any(row.tobytes() in scored for row in rows.spare)


def test_a_text_that_is_too_short_is_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(ValueError, match="The validation split has 60 tokens and scoring needs 91"):
        scoring.cut_rows(stream(60), token_bytes(), BOS, CONTEXT, 64, BATCH)


class FixedModel:
    """A worker whose logits depend on the two tokens before each target, the same way each time."""

    def __init__(self, dtype: str) -> None:
        self.table = np.random.default_rng(7).normal(size=(VOCAB, VOCAB)) * 3
        self.buffer = np.zeros((BATCH, CONTEXT, VOCAB), dtype)

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        before = np.concatenate((inputs[:, :1], inputs[:, :-1]), axis=1)
        return self.table[inputs] + 0.5 * self.table[before][..., ::-1]

    def call(self, function: str, *args: np.ndarray) -> dict[str, object]:
        assert function == "score"
        logits = self.logits(args[0])
        if self.buffer.dtype == np.float16:
            logits = logits - logits.max(axis=-1, keepdims=True)
        self.buffer[...] = logits
        return {"shape": list(logits.shape), "dtype": "float32"}


@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-6), ("float16", 2e-4)])
def test_val_bpb_is_what_float64_arithmetic_by_hand_gives(dtype: str, within: float) -> None:
    rows, model = rows_of(), FixedModel(dtype)
    losses = scoring.Scorer(model, model.buffer, "cpu").losses(rows.inputs, rows.targets)

    bits = size = 0.0
    for row, targets in zip(rows.inputs, rows.targets, strict=True):
        for logits, target in zip(model.logits(row[None])[0], targets, strict=True):
            if target != BOS:
                total = math.fsum(math.exp(value) for value in logits)
                bits -= math.log2(math.exp(logits[target]) / total)
                size += token_bytes()[target]

    assert scoring.bits_per_byte(losses, rows) == pytest.approx(bits / size, rel=within)


def test_logits_need_not_be_normalised_and_a_constant_does_not_matter() -> None:
    logits = torch.randn(2, 3, VOCAB, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(VOCAB, (2, 3), generator=torch.Generator().manual_seed(1))
    plain = scoring.cross_entropy(logits, targets)
    assert torch.allclose(scoring.cross_entropy(logits + 100, targets), plain, atol=1e-4)
    chances = torch.stack([scoring.cross_entropy(logits, torch.full((2, 3), t)) for t in range(VOCAB)]).neg().exp()
    assert torch.allclose(chances.sum(0), torch.ones(2, 3), atol=1e-5)


def test_a_loss_that_is_not_finite_gives_no_number() -> None:
    rows = rows_of()
    losses = np.ones(rows.targets.shape, np.float32)
    losses[3, 5] = np.inf
    rows.scored[3, 5] = True
    assert math.isnan(scoring.bits_per_byte(losses, rows))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), tokens=st.integers(600, 6000))
def test_the_audit_plan_keeps_the_text_up_to_the_cut_and_replaces_the_next_token(seed: int, tokens: int) -> None:
    rows = rows_of(tokens)
    plan = audits.make_plan(np.random.default_rng(seed), rows, BATCH)
    cuts = plan.cut < CONTEXT - 1

    assert cuts.sum() >= 512
    assert len(plan.inputs) % BATCH == 0
    assert (np.diff(plan.cut) >= 0).all()
    for inputs, source, cut in zip(plan.inputs, plan.source, plan.cut, strict=True):
        assert (inputs[: cut + 1] == rows.inputs[source, : cut + 1]).all()
        if cut < CONTEXT - 1:
            assert rows.scored[source, cut]
            assert inputs[cut + 1] != rows.inputs[source, cut + 1]


def test_weights_are_what_the_safetensors_package_reads_and_writes() -> None:
    tensors = {
        "a": torch.randn(3, 4),
        "b.c": torch.randn(5).to(torch.bfloat16),
        "empty": torch.zeros(0, 7),
        "one": torch.tensor(3),
        "turned": torch.randn(4, 6).T,
        "flags": torch.tensor([True, False]),
    }
    theirs = safetensors.torch.load(weights.dump(tensors).tobytes())
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    ours = weights.load(np.frombuffer(safetensors.torch.save(contiguous), np.uint8))
    for name, tensor in tensors.items():
        for other in (theirs[name], ours[name]):
            assert other.dtype == tensor.dtype
            assert torch.equal(other, tensor)


@pytest.mark.parametrize("size", [0, 4, 8, 20])
def test_weights_that_are_cut_short_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="safetensors"):
        weights.load(weights.dump({"a": torch.randn(3, 4)})[:size])


def test_weights_whose_places_do_not_fit_are_refused() -> None:
    data = weights.dump({"a": torch.randn(3, 4)})
    with pytest.raises(ValueError, match="does not fit"):
        weights.load(data[:-4])
