"""Scores a candidate: val_bpb, bits per byte of text that training never saw. Lower is better.

Worker A trains, hands over its weights and is dead before scoring. Worker B, fresh, loads them and turns validation
inputs into logits; the cross-entropy is computed here. Worker C, fresh again, answers the audits. None of them can
read the text that is scored. docs/nanogpt.md defines the metric and lists the audits.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import audits
import scoring
from dataset import Corpus, open_corpus
from hidden import hidden_paths
from looper.evaluation import Invalid, Run

Start = Callable[[], AbstractContextManager[Any]]  # of a fresh worker


def evaluate(run: Run) -> None:
    if run.device == "cpu":
        torch.set_num_threads(1)
    settings = run.settings
    corpus = open_corpus(run.facts["corpus_path"])
    rows = scoring.cut_rows(
        corpus.val,
        corpus.token_bytes,
        corpus.bos,
        settings["context"],
        settings["scored_tokens"] // settings["context"],
        settings["rows"],
    )
    info = {
        "vocab_size": corpus.vocab_size,
        "context": settings["context"],
        "bos": corpus.bos,
        "rows": settings["rows"],
        "device": run.device,
        "preset": settings["preset"],
        "seed": int(run.rng.integers(2**31)),  # not run.seed: that one decides where the audits look
    }
    plan = audits.make_plan(run.rng, rows, settings["rows"])
    peak_flops = scoring.matmul_flops() if run.device == "cuda" else 0.0

    hide = hidden_paths(corpus, run.facts["text_path"])
    start = partial(run.candidate, "train.py", driver="driver.py", files=("weights.py",), hide=hide)

    weights, metrics = train(run, start, corpus, info, peak_flops)
    losses = score(run, start, info, rows, weights)
    val_bpb = scoring.bits_per_byte(losses, rows)
    if math.isfinite(val_bpb):
        metrics["audit_gap"] = audit(run, start, info, rows, weights, plan, losses)
    run.report(val_bpb=val_bpb, **metrics)


def train(
    run: Run, start: Start, corpus: Corpus, info: dict[str, Any], peak_flops: float
) -> tuple[npt.NDArray[Any], dict[str, float]]:
    """Worker A: the weights it claims to have trained, and its metrics.

    CPU seconds are counted from its start: what it builds, it builds at its own cost, and there is nothing to gain from
    learning from other text before the clock. On the wall clock, compilation comes before the run.
    """
    settings = run.settings
    budget = {
        "budget_s": run.budget["run_s"] - settings["reserve_s"],
        "clock": run.budget["clock"],
        "fixed_steps": settings["fixed_steps"],
    }
    tokens = run.share(corpus.train)
    whole = run.budget["clock"] == "cpu"
    with run.clock() if whole else nullcontext(), start() as worker:
        built = worker.call("setup", {**info, "purpose": "train"})
        with nullcontext() if whole else run.clock():
            reply = worker.call("train", tokens, budget, reply_bytes=settings["weights_mb"] << 20)
        peak_memory_mb = worker.peak_memory_mb
    weights = reply.get("weights") if isinstance(reply, dict) else None
    if not (isinstance(weights, np.ndarray) and weights.dtype == np.uint8 and weights.ndim == 1):
        raise Invalid("train() handed over no weights.")
    steps, trained = claimed(reply, "steps"), claimed(reply, "tokens")
    seconds = run.timings["run_cpu_s" if run.budget["clock"] == "cpu" else "run_s"]
    metrics = {
        "tokens_per_s": trained / max(seconds, 0.01),  # 0.01: the kernel counts CPU time in ticks
        "steps": steps,
        "epochs": trained / len(corpus.train),
        "parameters_m": claimed(built, "parameters") / 1e6,
        "peak_memory_mb": peak_memory_mb,
    }
    if peak_flops:
        metrics["mfu"] = claimed(reply, "flops_per_token") * metrics["tokens_per_s"] / peak_flops
    return weights, metrics


def claimed(reply: Any, name: str) -> float:
    """A number that a worker says of itself, for the record only. Invalid when it is none or absurd."""
    value = reply.get(name) if isinstance(reply, dict) else None
    if type(value) not in (int, float) or not 0 <= value < 1e18:
        raise Invalid(f"the worker's {name} is {str(value)[:40]}, which is no plausible number.")
    return float(value)


def score(
    run: Run, start: Start, info: dict[str, Any], rows: scoring.Rows, weights: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    """Worker B: the loss of every target, (n, T). Its first batch is asked again at the end."""
    allowed = audits.Tolerance(*run.settings["tolerance"])
    with start() as worker:
        ask = open_scorer(run, worker, info, weights)
        before = fingerprint(worker)
        losses = ask.losses(rows.inputs, rows.targets)
        if not np.isfinite(losses[rows.scored]).all():
            return losses
        first = slice(0, ask.batch)
        audits.check_repeat(losses[first], ask.losses(rows.inputs[first], rows.targets[first]), allowed)
        if fingerprint(worker) != before:
            raise Invalid("logits() changed the model's weights or buffers.")
    return losses


def fingerprint(worker: Any) -> str:
    """The hash of its weights that the worker claims. Invalid when it is no text."""
    claim = worker.call("fingerprint")
    if type(claim) is not str:
        raise Invalid("the worker's fingerprint of its weights is no text.")
    return claim


def audit(
    run: Run,
    start: Start,
    info: dict[str, Any],
    rows: scoring.Rows,
    weights: npt.NDArray[Any],
    plan: audits.Plan,
    losses: npt.NDArray[np.float32],
) -> float:
    """Worker C: the same losses from cut rows and from rows in other company. The largest difference in nats."""
    allowed = audits.Tolerance(*run.settings["tolerance"])
    with start() as worker:
        ask = open_scorer(run, worker, info, weights)
        audited = ask.losses(plan.inputs, rows.targets[plan.source])
    return audits.check_plan(plan, rows, losses, audited, allowed)


def open_scorer(run: Run, worker: Any, info: dict[str, Any], weights: npt.NDArray[Any]) -> scoring.Scorer:
    """A fresh worker with the weights loaded, ready for inputs."""
    worker.call("setup", {**info, "purpose": "score"})
    worker.call("load", run.share(weights))
    return scoring.Scorer(worker, shared_logits(run, worker, info), run.device)


def shared_logits(run: Run, worker: Any, info: dict[str, Any]) -> Any:
    """Memory for one batch of logits, (B, T, V): the GPU's own where its driver can share it, so that they never
    leave the GPU."""
    shape = (info["rows"], info["context"], info["vocab_size"])
    if run.device == "cuda":
        with contextlib.suppress(OSError):
            on_device = run.device_buffer(shape, run.settings["logits"])
            if worker.call("take_buffer", on_device) is True:
                return on_device.array
    buffer = run.buffer(shape, run.settings["logits"])
    worker.call("take_buffer", buffer)
    return buffer.array
