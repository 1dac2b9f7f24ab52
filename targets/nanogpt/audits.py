"""Audits of every run: a loss that counts may depend on nothing but the tokens before its target.

Two fresh workers hold the same weights. The first sees the scored rows, in order. The second sees two kinds of
rows, and the same losses must come out there:

- *cut rows*: a scored row up to a random position, then text that is never scored. A model that looks ahead
  cannot give the position the loss it gave with the true text ahead. Short cuts come first, so that the second
  worker has never seen what follows a cut; and the two workers share no memory in which to remember it.
- *whole rows* from all over, with other batch mates and in another order: a model that remembers earlier rows,
  or looks at its batch mates, gives other losses.

The first worker is also asked its first batch again at the end, after which it must give the same losses.

A model that cheats at a fraction p of the positions passes with probability (1 - p)**CUTS: 3e-5 for p = 2%.

What the audits cannot see: workers that talk to each other outside looper's channels (files, sockets), which
is what isolation is for; and knowledge of the validation text in the weights. What a worker says of itself,
such as the hash of its weights, only catches honest mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from looper.evaluation import Invalid
from scoring import Rows

CUTS = 512  # audited positions, at least
WHOLE_BATCHES = 2


@dataclass(frozen=True)
class Tolerance:
    """How far losses may differ, in nats. Zero is what exact arithmetic gives.

    Args:
        each: at any one position.
        mean: on average over the audited positions, in the candidate's favour. Rounding has no favourite,
            so this is far smaller; it stops a small leak everywhere.
    """

    each: float
    mean: float


@dataclass(frozen=True)
class Plan:
    """What the second worker is asked.

    Args:
        inputs: (m, T) int32, m a multiple of the batch.
        source: (m,) the scored row that each is made from.
        cut: (m,) the last position whose loss must be as in the scored row; the text is true up to there.
    """

    inputs: npt.NDArray[np.int32]
    source: npt.NDArray[np.int64]
    cut: npt.NDArray[np.int64]


def make_plan(rng: np.random.Generator, rows: Rows, batch: int) -> Plan:
    """Random cuts and whole rows, short cuts first."""
    count, context = rows.inputs.shape
    cuts = -(-CUTS // batch) * batch
    auditable = rows.scored[:, :-1].nonzero()  # the last position has nothing ahead
    picked = rng.choice(len(auditable[0]), size=cuts, replace=len(auditable[0]) < cuts)
    source, cut = auditable[0][picked], auditable[1][picked]
    order = np.argsort(cut, kind="stable")
    source, cut = source[order], cut[order]
    inputs = rows.inputs[source]
    ahead = np.arange(context) > cut[:, None]
    inputs[ahead] = rows.spare[other_text(rng, rows, source, cut)][ahead]

    whole = rng.choice(count, size=min(WHOLE_BATCHES * batch, count // batch * batch), replace=False)
    return Plan(
        inputs=np.concatenate((inputs, rows.inputs[whole])),
        source=np.concatenate((source, whole)),
        cut=np.concatenate((cut, np.full(len(whole), context - 1))),
    )


def other_text(
    rng: np.random.Generator, rows: Rows, source: npt.NDArray[np.int64], cut: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """For each cut a spare row, one whose token after the cut is not the true one (if there is any)."""
    other = rng.integers(len(rows.spare), size=len(source))
    for _ in range(100):
        same = rows.spare[other, cut + 1] == rows.inputs[source, cut + 1]
        if not same.any():
            break
        other[same] = rng.integers(len(rows.spare), size=int(same.sum()))
    return other


def check_plan(
    plan: Plan, rows: Rows, scored: npt.NDArray[np.float32], audited: npt.NDArray[np.float32], allowed: Tolerance
) -> float:
    """Compare the second worker's losses with the first's; the largest difference in nats.

    Args:
        scored: (n, T) losses of the scored rows, from the first worker.
        audited: (m, T) losses of ``plan.inputs`` against the true targets, from the second.

    Raises:
        Invalid: they differ by more than allowed.
    """
    gain = audited - scored[plan.source]  # what the first worker had over the second
    at_cut = gain[np.arange(len(plan.cut)), plan.cut]
    is_cut = plan.cut < rows.inputs.shape[1] - 1
    if not (np.abs(at_cut[is_cut]).max() <= allowed.each and at_cut[is_cut].mean() <= allowed.mean):
        raise Invalid(
            "a loss depends on the tokens after its target: with other text there it changes by "
            f"{np.abs(at_cut[is_cut]).max():.3g} nats at most and {at_cut[is_cut].mean():.3g} on average."
        )
    kept = (np.arange(gain.shape[1]) <= plan.cut[:, None]) & rows.scored[plan.source]
    if not (np.abs(gain[kept]).max() <= allowed.each and gain[kept].mean() <= allowed.mean):
        raise Invalid(
            "a loss depends on other rows, on their order or on later text: elsewhere it changes by "
            f"{np.abs(gain[kept]).max():.3g} nats at most and {gain[kept].mean():.3g} on average."
        )
    return float(np.abs(gain[kept]).max())


def check_repeat(first: npt.NDArray[np.float32], again: npt.NDArray[np.float32], allowed: Tolerance) -> None:
    """The same batch, first and last. Invalid when it gives other losses."""
    gap = float(np.abs(again - first).max())
    if not gap <= allowed.each:
        raise Invalid(f"the first batch gives other losses when it is asked again at the end: by up to {gap:.3g} nats.")
