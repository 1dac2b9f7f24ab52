"""Every way of cheating in the logits is refused, and honest models pass, with the real driver in two workers.

Here the workers live in this process, so that all cheats together take seconds; test_nanogpt_runs.py has
real processes.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "targets" / "nanogpt"))

import audits
import scoring
from looper.evaluation import Invalid

NANOGPT = Path(audits.__file__).parent

VOCAB, BOS, CONTEXT, BATCH = 64, 0, 48, 4
EXACT = audits.Tolerance(1e-4, 1e-6)


class InProcess:
    """A worker as the evaluator sees it, but in this process: the real driver, a candidate from a file."""

    def __init__(self, candidate: Path) -> None:
        self.candidate, self.driver = load(candidate), load(NANOGPT / "driver.py")

    def call(self, function: str, *args: Any) -> Any:
        return getattr(self.driver, function)(self.candidate, *args)


def load(path: Path) -> ModuleType:
    """A fresh module, shared with nobody."""
    spec = importlib.util.spec_from_file_location(f"fresh_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text(tokens: int, seed: int) -> np.ndarray:
    """Text with structure to learn: each token follows from the one before it two times in three."""
    draw = np.random.default_rng(seed)
    successor = np.random.default_rng(99).integers(1, VOCAB, size=VOCAB)
    out = draw.integers(1, VOCAB, size=tokens).astype(np.uint16)
    for at in range(1, tokens):
        if draw.random() < 0.66:
            out[at] = successor[out[at - 1]]
    out[:: 5 * CONTEXT] = BOS
    return out


INFO = {"vocab_size": VOCAB, "context": CONTEXT, "bos": BOS, "rows": BATCH, "device": "cpu", "preset": "cpu", "seed": 5}
BUDGET = {"budget_s": 5.0, "clock": "wall", "fixed_steps": 3}
SIZES = np.array([0] + [2] * (VOCAB - 1), np.int32)
ROWS = scoring.cut_rows(text(CONTEXT * 400, 1), SIZES, BOS, CONTEXT, 160, BATCH)


def val_bpb_after_audits(
    candidate: Path, allowed: audits.Tolerance = EXACT, logits: str = "float32", one_worker: bool = False
) -> float:
    """Train, score and audit as evaluate.py does; or, less well, with one worker for scoring and audits."""
    trainer = InProcess(candidate)
    trainer.call("setup", {**INFO, "purpose": "train"})
    weights = trainer.call("train", text(CONTEXT * 2000, 2), BUDGET)["weights"]

    def ready() -> scoring.Scorer:
        worker, buffer = InProcess(candidate), np.zeros((BATCH, CONTEXT, VOCAB), logits)
        worker.call("setup", {**INFO, "purpose": "score"})
        worker.call("load", weights)
        worker.call("take_buffer", buffer)
        return scoring.Scorer(worker, buffer, "cpu")

    first = ready()
    second = first if one_worker else ready()
    before = first.worker.call("fingerprint")
    losses = first.losses(ROWS.inputs, ROWS.targets)
    audits.check_repeat(losses[:BATCH], first.losses(ROWS.inputs[:BATCH], ROWS.targets[:BATCH]), allowed)
    if first.worker.call("fingerprint") != before:
        raise Invalid("the weights changed")
    plan = audits.make_plan(np.random.default_rng(3), ROWS, BATCH)
    audits.check_plan(plan, ROWS, losses, second.losses(plan.inputs, ROWS.targets[plan.source]), allowed)
    return scoring.bits_per_byte(losses, ROWS)


def test_the_real_model_passes_and_scores_the_same_through_float16() -> None:
    scores = [val_bpb_after_audits(NANOGPT / "train.py", logits=dtype) for dtype in ("float32", "float16")]
    assert 0 < scores[0] < 6 / 2
    assert scores[0] == pytest.approx(scores[1], rel=2e-4)


def test_the_table_that_the_cheats_start_from_passes_without_them_and_has_learnt(tmp_path: Path) -> None:
    lines = (NANOGPT / "wrong" / "peek.py").read_text().splitlines(keepends=True)
    honest = [line for line in lines if "scatter_add_" not in line]
    assert len(honest) == len(lines) - 1
    (tmp_path / "honest.py").write_text("".join(honest))
    assert 0.5 < val_bpb_after_audits(tmp_path / "honest.py") < 2.0


REFUSED_FOR = {
    "peek": "tokens after its target",
    "peek_rarely": "tokens after its target",
    "peek_far": "tokens after its target",
    "peek_and_remember": "tokens after its target",
    "learn_while_scored": "first batch gives other losses|other rows|tokens after its target",
    "ask_batch_mates": "other rows|tokens after its target",
    "answer_once": "first batch gives other losses|other rows|tokens after its target",
    "change_weights": "weights changed|first batch gives other losses",
    "fewer_logits": "shape",
    "integers": "other than floating-point",
}


@pytest.mark.parametrize("name", REFUSED_FOR)
def test_a_cheat_in_the_logits_is_refused_for_its_reason(name: str) -> None:
    with pytest.raises(Invalid, match=REFUSED_FOR[name]):
        val_bpb_after_audits(NANOGPT / "wrong" / f"{name}.py")


@pytest.mark.parametrize("name", ["peek", "peek_rarely", "peek_far", "peek_and_remember"])
def test_looking_ahead_would_have_paid_and_is_caught_with_the_tolerance_for_bfloat16(name: str) -> None:
    with pytest.raises(Invalid, match="tokens after its target"):
        val_bpb_after_audits(NANOGPT / "wrong" / f"{name}.py", audits.Tolerance(0.25, 2e-3))


def test_one_worker_for_scoring_and_audits_would_be_fooled_by_a_memory() -> None:
    assert val_bpb_after_audits(NANOGPT / "wrong" / "peek_and_remember.py", one_worker=True) < 0.4  # honestly above 0.5


def test_a_small_leak_everywhere_is_caught_by_the_mean() -> None:
    plan = audits.make_plan(np.random.default_rng(3), ROWS, BATCH)
    losses = np.full(ROWS.targets.shape, 3.0, np.float32)
    honest = losses[plan.source]
    noise = np.random.default_rng(0).normal(scale=0.01, size=honest.shape).astype(np.float32)
    allowed = audits.Tolerance(0.25, 2e-3)

    audits.check_plan(plan, ROWS, losses, honest + noise, allowed)
    with pytest.raises(Invalid, match="on average"):
        audits.check_plan(plan, ROWS, losses - 0.01, honest + noise, allowed)


def test_losses_that_are_not_numbers_are_refused_in_every_audit() -> None:
    plan = audits.make_plan(np.random.default_rng(3), ROWS, BATCH)
    losses = np.full(ROWS.targets.shape, 3.0, np.float32)
    broken = losses[plan.source] * np.nan
    with pytest.raises(Invalid):
        audits.check_plan(plan, ROWS, losses, broken, EXACT)
    with pytest.raises(Invalid):
        audits.check_repeat(losses, losses * np.nan, EXACT)


@pytest.mark.parametrize("path", sorted((NANOGPT / "wrong").glob("*.py")), ids=lambda path: path.stem)
def test_a_wrong_candidate_says_what_is_expected_of_it(path: Path) -> None:
    text = path.read_text()
    assert text.splitlines()[0] in ("# expect: refused", "# expect: no gain")
    assert ast.get_docstring(ast.parse(text))  # not imported: what it tries must not happen here


def test_the_clock_ends_before_a_step_that_would_not_fit() -> None:
    clock = load(NANOGPT / "driver.py").Clock(budget_s=1.0, clock="wall", fixed_steps=0)
    time.sleep(0.6)  # the one step so far, of a budget that has no room for two
    clock.report(step=1, tokens=10)
    assert clock.done()


def test_with_fixed_steps_the_clock_counts_steps_alone() -> None:
    clock = load(NANOGPT / "driver.py").Clock(budget_s=0.0, clock="wall", fixed_steps=2)
    clock.report(step=1, tokens=10)
    assert (clock.fraction(), clock.done()) == (0.5, False)
    clock.report(step=2, tokens=20)
    assert (clock.fraction(), clock.done()) == (1.0, True)
