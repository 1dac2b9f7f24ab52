"""What a proposal may be, how large it is, and what its commit says. Pure."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import replace

from looper.evaluation.logtext import one_line
from looper.filenames import shown
from looper.models import Experiment, Measurement, Proposal, Target

MAX_BYTES = 1 << 20  # of one editable file
MAX_LINES = 5_000  # changed lines that are compared one by one: the time grows with their square


def check(target: Target, proposal: Proposal) -> str:
    """Why this proposal cannot be a candidate of the target; empty when it can."""
    for name, given in proposal.files.items():
        text: object = given  # a plugin may have been careless
        if name not in target.editable:
            return f"changes {shown(name)}; the editable files are {', '.join(target.editable)}"
        if not isinstance(text, str):
            return f"gives a {type(text).__name__} for {name}, not its text"
        if why := unfit(name, text):
            return why
    try:
        json.dumps(dict(proposal.meta), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"carries meta that are not plain values: {one_line(str(error))}"
    return ""


def unfit(name: str, text: str) -> str:
    """What is done to the editable file of that name by giving it this text; empty when that may be done."""
    if "\0" in text:
        return f"puts a null character into {name}"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return f"puts characters into {name} that are not Unicode text"
    return f"makes {name} {size} bytes long (the limit is {MAX_BYTES})" if size > MAX_BYTES else ""


def tidy(proposal: Proposal, *, keep_meta: bool) -> Proposal:
    """The proposal as it goes on record: one clean line of hypothesis, a cost that is a number."""
    cost = proposal.cost_usd
    known = isinstance(cost, int | float) and math.isfinite(cost)
    return replace(
        proposal,
        hypothesis=one_line(str(proposal.hypothesis)),
        meta=dict(proposal.meta) if keep_meta else {},
        cost_usd=cost if known else None,
        tokens=proposal.tokens if isinstance(proposal.tokens, int) else 0,
    )


def diff_size(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, int]:
    """Lines ``added`` and ``removed`` from one set of files to another.

    A change that spans more than ``MAX_LINES`` lines counts as all of them taken out and put in anew.
    """
    added = removed = 0
    for name, data in new.items():
        if data != old.get(name):
            before, after = _without_common_ends(old.get(name, b"").splitlines(), data.splitlines())
            if len(before) + len(after) > MAX_LINES:
                removed, added = removed + len(before), added + len(after)
                continue
            for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after).get_opcodes():
                if kind != "equal":
                    removed, added = removed + b - a, added + d - c
    return {"added": added, "removed": removed}


def _without_common_ends(old: list[bytes], new: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    shorter = min(len(old), len(new))
    start = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    end = next((i for i in range(shorter - start) if old[-1 - i] != new[-1 - i]), shorter - start)
    return old[start : len(old) - end], new[start : len(new) - end]


def kept_message(target: Target, champion: Experiment, kept: Experiment, measurement: Measurement) -> str:
    """The message of a keep's commit: the change, what it brought, where it is in the ledger."""
    name = target.metric.name
    old, new = champion.metrics[name], measurement.metrics[name]
    return (
        f"{kept.hypothesis}\n\n{name} {old:.6g} -> {new:.6g} ({relative(old, new)})\n\n"
        f"Experiment {kept.n} of looper on {target.name}, proposed by {kept.proposer}.\n"
    )


def relative(old: float, new: float) -> str:
    """The change from ``old`` to ``new`` in per cent of ``old``, or in absolute terms where that says nothing."""
    if old == 0:
        return f"{new - old:+.4g}"
    change = 100 * (new - old) / abs(old)
    return f"{change:+.2f}%" if abs(change) < 1000 else f"{new - old:+.4g}"
