"""Scores a candidate: val_bpb, bits per byte of text that training never saw. Lower is better.

Worker A gets the training tokens when the clock starts, trains, hands over its weights and is dead before
scoring. Worker B, fresh, loads them and turns validation inputs into logits; the cross-entropy is computed
here. Worker C, fresh again, answers the audits. docs/nanogpt.md defines the metric and lists the audits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import audits
import scoring
from dataset import Corpus, open_corpus
from looper.evaluation import Invalid, Run


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

    weights, metrics = train(run, corpus, info, peak_flops)
    losses = score(run, info, rows, weights)
    val_bpb = scoring.bits_per_byte(losses, rows)
    if math.isfinite(val_bpb):
        metrics["audit_gap"] = audit(run, info, rows, weights, plan, losses)
    run.report(val_bpb=val_bpb, **metrics)


def train(
    run: Run, corpus: Corpus, info: dict[str, Any], peak_flops: float
) -> tuple[npt.NDArray[Any], dict[str, float]]:
    """Worker A: the weights it claims to have trained, and its metrics."""
    settings = run.settings
    budget = {
        "budget_s": run.budget["run_s"] - settings["reserve_s"],
        "clock": run.budget["clock"],
        "fixed_steps": settings["fixed_steps"],
    }
    tokens = run.share(corpus.train)
    with run.candidate("train.py", driver="driver.py") as worker:
        built = worker.call("setup", {**info, "purpose": "train"})
        with run.clock():
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


def score(run: Run, info: dict[str, Any], rows: scoring.Rows, weights: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Worker B: the loss of every target, (n, T). Its first batch is asked again at the end."""
    allowed = audits.Tolerance(*run.settings["tolerance"])
    with run.candidate("train.py", driver="driver.py") as worker:
        ask = open_scorer(run, worker, info, weights)
        before = worker.call("fingerprint")
        losses = ask.losses(rows.inputs, rows.targets)
        if not np.isfinite(losses[rows.scored]).all():
            return losses
        first = slice(0, ask.batch)
        audits.check_repeat(losses[first], ask.losses(rows.inputs[first], rows.targets[first]), allowed)
        if worker.call("fingerprint") != before:
            raise Invalid("logits() changed the model's weights or buffers.")
    return losses


def audit(
    run: Run,
    info: dict[str, Any],
    rows: scoring.Rows,
    weights: npt.NDArray[Any],
    plan: audits.Plan,
    losses: npt.NDArray[np.float32],
) -> float:
    """Worker C: the same losses from cut rows and from rows in other company. The largest difference in nats."""
    allowed = audits.Tolerance(*run.settings["tolerance"])
    with run.candidate("train.py", driver="driver.py") as worker:
        ask = open_scorer(run, worker, info, weights)
        audited = ask.losses(plan.inputs, rows.targets[plan.source])
    return audits.check_plan(plan, rows, losses, audited, allowed)


def open_scorer(run: Run, worker: Any, info: dict[str, Any], weights: npt.NDArray[Any]) -> scoring.Scorer:
    """A fresh worker with the weights loaded, ready for inputs."""
    shape = (info["rows"], info["context"], info["vocab_size"])
    buffer = run.buffer(shape, run.settings["logits"])
    worker.call("setup", {**info, "purpose": "score"})
    worker.call("load", run.share(weights), buffer)
    return scoring.Scorer(worker, buffer.array, run.device)
