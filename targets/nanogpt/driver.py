"""Runs in the worker, between the evaluator and the candidate's train.py. Locked, but not trusted.

The candidate shares this process and can change anything here, so nothing here protects the score: what does
is in evaluate.py and audits.py. This file is for honest candidates: a clock, a loader, a clean interface.
"""

from __future__ import annotations

import hashlib
import resource
import time
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import torch

import weights
from looper.evaluation.worker import progress

LARGEST = 60_000.0  # float16 ends at 65504

held: dict[str, Any] = {}  # what one call leaves for the next: the model, its device, the buffer for logits


class Clock:
    """The run budget as the candidate sees it: a little less than what is enforced from outside. On the CPU clock it
    includes the imports and ``build``.

    With ``fixed_steps`` the budget is so many reported steps instead, whatever they cost.
    """

    def __init__(self, budget_s: float, clock: str, fixed_steps: int) -> None:
        self.budget_s, self.fixed_steps = budget_s, fixed_steps
        self._now = cpu_seconds if clock == "cpu" else time.monotonic
        self._start = 0.0 if clock == "cpu" else self._now()  # CPU seconds count from the start of the process
        self._reported = self._last_step = 0.0
        self.step = 0
        self.tokens = 0

    def elapsed(self) -> float:
        """Seconds used, on the budget's clock."""
        return self._now() - self._start

    def remaining(self) -> float:
        """Seconds left; when they are used up the evaluator ends this process, weights and all."""
        return self.budget_s - self.elapsed()

    def fraction(self) -> float:
        """How much of the budget is used, 0 to 1."""
        used = self.step / self.fixed_steps if self.fixed_steps else self.elapsed() / self.budget_s
        return min(1.0, used)

    def done(self) -> bool:
        """Whether training has to end now: another step as long as the last would not fit."""
        if self.fixed_steps:
            return self.step >= self.fixed_steps
        return self.elapsed() + self._last_step > self.budget_s

    def report(self, step: int, tokens: int, loss: float | None = None) -> None:
        """Steps and training tokens so far, after every step; ``loss`` is shown while the run goes on."""
        self.step, self.tokens = step, tokens
        now = self.elapsed()
        self._last_step, self._reported = now - self._reported, now
        if loss is not None:
            progress(step=step, loss=loss)


def cpu_seconds() -> float:
    """CPU seconds of this process, its threads and the children it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Data:
    """``tokens``: the training stream, (n,) uint16, read-only; every document starts with BOS."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens = tokens


def setup(candidate: ModuleType, info: dict[str, Any]) -> dict[str, int]:
    """Build the candidate's model. Returns its number of parameters."""
    if info["device"] == "cpu":
        torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    held["model"], held["device"] = candidate.build(info), info["device"]
    return {"parameters": sum(p.numel() for p in held["model"].parameters())}


def train(candidate: ModuleType, tokens: np.ndarray, budget: dict[str, Any]) -> dict[str, Any]:
    """Train, and hand over the weights as (n,) uint8 in the safetensors format, with what was done for them."""
    clock = Clock(budget["budget_s"], budget["clock"], budget["fixed_steps"])
    candidate.train(held["model"], Data(tokens), clock)
    flops = candidate.flops_per_token(held["model"]) if hasattr(candidate, "flops_per_token") else 0.0
    return {
        "steps": clock.step,
        "tokens": clock.tokens,
        "flops_per_token": float(flops),
        "weights": weights.dump(held["model"].state_dict()),
    }


def load(candidate: ModuleType, data: np.ndarray) -> None:
    """Put the weights into the model."""
    held["model"].load_state_dict(weights.load(data), strict=True)


def take_buffer(candidate: ModuleType, logits: Any) -> bool:
    """Keep the shared buffer that :func:`score` fills, (B, T, V). False for the GPU's memory if it cannot be mapped."""
    if not isinstance(logits, np.ndarray):
        try:
            held["out"] = torch.as_tensor(logits, device="cuda")
        except OSError:
            return False
        return True
    held["out"] = torch.from_numpy(logits)
    if held["device"] == "cuda":  # page-locked, so that the GPU writes into the shared memory itself
        torch.cuda.cudart().cudaHostRegister(logits.ctypes.data, logits.nbytes, 0)  # refused, it is only slower
    return True


def score(candidate: ModuleType, tokens: np.ndarray) -> dict[str, Any]:
    """Fill the buffer with the logits after each of the tokens, (B, T) int32. Returns their shape and dtype.

    Only differences between logits count. Into a float16 buffer they go with each position's largest one at
    zero, where float16 is finest.
    """
    out = held["out"]
    with torch.inference_mode():
        logits = candidate.logits(held["model"], torch.from_numpy(tokens).to(held["device"]).long())
        if tuple(logits.shape) == tuple(out.shape) and logits.is_floating_point():
            logits = logits.float()
            if out.dtype == torch.float16:
                logits = (logits - logits.amax(dim=-1, keepdim=True)).clamp(min=-LARGEST)
            out.copy_(logits)
            if out.is_cuda:
                torch.cuda.synchronize()  # the evaluator does not see this process's queue
    return {"shape": list(logits.shape), "dtype": str(logits.dtype).removeprefix("torch.")}


def fingerprint(candidate: ModuleType) -> str:
    """SHA-256 of every parameter and buffer."""
    digest = hashlib.sha256()
    for name, tensor in held["model"].state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
