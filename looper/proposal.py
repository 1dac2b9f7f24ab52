"""What a proposal may be, how large it is, and what its commit says. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from looper.models import Experiment, Measurement, Target

MAX_BYTES = 1 << 20  # of one editable file


def check(target: Target, files: Mapping[str, str]) -> str:
    """Why these files cannot be a candidate of the target; empty when they can."""
    for name, text in files.items():
        if name not in target.editable:
            return f"changes {name!r}; the editable files are {', '.join(target.editable)}"
        if "\0" in text:
            return f"puts a null character into {name}"
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            return f"puts characters into {name} that are not Unicode text"
        if size > MAX_BYTES:
            return f"makes {name} {size} bytes long (the limit is {MAX_BYTES})"
    return ""


def diff_size(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> dict[str, int]:
    """Lines ``added`` and ``removed`` from one set of files to another."""
    added = removed = 0
    for name, data in new.items():
        if data != old.get(name):
            before, after = old.get(name, b"").splitlines(), data.splitlines()
            for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after).get_opcodes():
                if kind != "equal":
                    removed, added = removed + b - a, added + d - c
    return {"added": added, "removed": removed}


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
