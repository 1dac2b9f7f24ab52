"""The metric: which tokens are scored, their loss from a candidate's logits, and bits per byte.

Everything here runs in the evaluator. The only thing taken from a worker is the content of the shared
buffer of logits, which is copied once and used from the copy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from looper.evaluation import Invalid


class Worker(Protocol):
    """The part of a candidate's handle that scoring needs."""

    def call(self, function: str, *args: Any) -> Any: ...


@dataclass(frozen=True)
class Rows:
    """What is scored.

    Args:
        inputs: (n, T) int32, what the model sees; the first of every row is BOS.
        targets: (n, T) int64, the token after each input.
        scored: (n, T) bool, False where the target is a special token.
        bytes: UTF-8 bytes that the scored targets stand for, in all.
        spare: (k, T) int32, rows that are never scored: other text for the audits.
    """

    inputs: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int64]
    scored: npt.NDArray[np.bool_]
    bytes: int
    spare: npt.NDArray[np.int32]


def cut_rows(
    stream: npt.NDArray[np.uint16],
    token_bytes: npt.NDArray[np.int32],
    bos: int,
    context: int,
    count: int,
    batch: int,
) -> Rows:
    """``count`` rows, evenly spaced over the whole stream, or as many batches as seven eighths of it have.

    The stream is cut every ``context`` tokens. Each piece is one row's targets; its inputs are BOS and the
    piece without its last token. So every token of a chosen piece is predicted exactly once, from at least
    BOS, nothing is cropped or padded, and the choice depends on the corpus alone. A target of zero bytes
    (BOS, where one document ends and the next begins) is not scored.

    Raises:
        ValueError: the stream has less than one batch of rows.
    """
    pieces = len(stream) // context
    count = min(count, pieces - max(1, pieces // 8)) // batch * batch
    if count <= 0:
        raise ValueError(
            f"The validation split has {len(stream):,} tokens and scoring needs {(batch + 1) * context * 8 // 7:,} "
            "or more. Take a larger corpus."
        )
    chosen = np.linspace(0, pieces - 1, count).round().astype(np.int64)
    cut = stream[: pieces * context].reshape(pieces, context)
    targets = cut[chosen].astype(np.int64)
    sizes = token_bytes[targets]
    return Rows(
        inputs=shifted(targets, bos),
        targets=targets,
        scored=sizes > 0,
        bytes=int(sizes.sum(dtype=np.int64)),
        spare=shifted(np.delete(cut, chosen, axis=0)[:MOST_SPARE], bos),
    )


MOST_SPARE = 1024


def shifted(targets: npt.NDArray[Any], bos: int) -> npt.NDArray[np.int32]:
    """The inputs whose next tokens are ``targets``, from BOS on."""
    first = np.full((len(targets), 1), bos)
    return np.concatenate((first, targets[:, :-1]), axis=1).astype(np.int32)


class Scorer:
    """Losses from a worker that has loaded the weights.

    Args:
        worker: its handle.
        buffer: (B, T, V) float16 or float32, in the host's memory or the GPU's, shared with the worker, which may
            write to it at any time.
        device: where cross-entropy is computed, ``cpu`` or ``cuda``.
    """

    def __init__(self, worker: Worker, buffer: Any, device: str) -> None:
        self.worker, self.device = worker, device
        self.batch = buffer.shape[0]
        self.shape = list(buffer.shape)
        if not isinstance(buffer, np.ndarray):
            self.shared = torch.as_tensor(buffer, device="cuda")
            return
        self.shared = torch.from_numpy(buffer)
        if device == "cuda":  # page-locked, so that the GPU reads the shared memory itself
            torch.cuda.cudart().cudaHostRegister(buffer.ctypes.data, buffer.nbytes, 0)  # refused, it is only slower

    def losses(self, inputs: npt.NDArray[np.int32], targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Cross-entropy of every target in nats, (n, T) float32; n is a multiple of the batch.

        Raises:
            Invalid: the candidate's logits have another shape, or are no floating-point numbers.
        """
        parts = [
            self._batch(inputs[start : start + self.batch], targets[start : start + self.batch])
            for start in range(0, len(inputs), self.batch)
        ]
        return np.concatenate(parts)

    def _batch(self, inputs: npt.NDArray[np.int32], targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        check_claim(self.worker.call("score", np.ascontiguousarray(inputs)), self.shape)
        logits = self.shared.to(self.device, copy=True)
        return cross_entropy(logits, torch.from_numpy(targets).to(self.device)).cpu().numpy()


def check_claim(claim: Any, shape: list[int]) -> None:
    """What the driver says of the logits it was given. Invalid when they are not (B, T, V) floats."""
    dtype, given = (claim.get("dtype"), claim.get("shape")) if isinstance(claim, dict) else (None, None)
    if not isinstance(dtype, str) or not dtype.startswith(("float", "bfloat")):
        raise Invalid("logits() returned something other than floating-point numbers.")
    # compared only once it is a list of plain numbers: an array in it would answer with an array
    if not isinstance(given, list) or not all(type(side) is int for side in given) or given != shape:
        raise Invalid(f"logits() returned the shape {str(given)[:60]} instead of {shape}.")


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(B, T, V) and (B, T) int64 -> (B, T) float32 nats. Normalised here: no logits can cheat the sum of 1."""
    flat = logits.float().flatten(0, 1)
    return F.cross_entropy(flat, targets.flatten(), reduction="none").view(targets.shape)


def bits_per_byte(losses: npt.NDArray[np.float32], rows: Rows) -> float:
    """Sum of the scored losses in bits over the bytes they stand for; summed in float64.

    NaN when any scored loss is not finite.
    """
    nats = float(losses[rows.scored].sum(dtype=np.float64))
    return nats / (math.log(2) * rows.bytes) if math.isfinite(nats) else math.nan


def matmul_flops(seconds: float = 0.2, size: int = 8192) -> float:
    """Floating-point operations a second of a large bfloat16 matrix product on this very GPU."""
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    rounds = 10
    while True:
        start.record()
        for _ in range(rounds):
            a @ a
        stop.record()
        stop.synchronize()
        taken = start.elapsed_time(stop) / 1e3
        if taken >= seconds:
            return 2 * size**3 * rounds / taken
        rounds *= 2
