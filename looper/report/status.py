"""How a session stands: the body of ``looper status``.

``status --json`` is one object:

    tag, branch, ledger   the session, its git branch, the path of its ledger
    target, metric, budget, device, isolation  as the session was opened
    running               whether a looper process holds the session now
    closed                why it last ended; empty while it runs or when it was killed
    baseline, champion    {n, value, commit}, or null before the baseline was measured
    gain, change          of the champion over the baseline: positive is better; in words, such as ``-2.10%``
    experiments, verdicts  how many were decided, the baseline not counted; how often each verdict was given
    pending               numbers of the experiments without a verdict
    opened_at, last_at    UTC, ISO 8601
    active_s, per_hour    seconds that the session was open; experiments an hour in them, or null
    cost_usd, tokens      of all proposals; cost is null when no price is known
    hints                 why its measurements may not compare with each other, or with ones made here
    last                  the last experiments, as in ``log --json``
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from looper import hardware
from looper.evaluation.logtext import one_line
from looper.identity import COMPARED_MACHINE
from looper.models import Experiment, Metric
from looper.proposal import relative
from looper.report import words
from looper.report.trail import Trail

LAST = 5


def status(trail: Trail, ledger: Path) -> dict[str, Any]:
    """The session in plain values; see the module's text."""
    metric, record = trail.metric, trail.record
    opened, target = trail.openings[-1], record.opened["identity"]["target"]
    baseline, champion = _point(record.baseline, metric), _point(record.champion, metric)
    decided = sum(experiment.n > 0 for experiment in record.history)
    active_s = trail.active_s()
    cost_usd, tokens = trail.cost()
    return {
        "tag": opened["tag"],
        "branch": f"looper/{opened['tag']}",
        "ledger": str(ledger),
        "target": target["name"],
        "metric": target["metric"],
        "budget": target["budget"],
        "device": target["device"],
        "isolation": record.opened["identity"]["isolation"],
        "running": is_running(ledger.parent),
        "closed": record.closed,
        "baseline": baseline,
        "champion": champion,
        "gain": metric.gain(champion["value"], baseline["value"]) if champion and baseline else None,
        "change": relative(baseline["value"], champion["value"]) if champion and baseline else None,
        "experiments": decided,
        "verdicts": words.verdicts(record.history),
        "pending": sorted(record.pending),
        "opened_at": trail.openings[0]["at"],
        "last_at": trail.times[-1][1].isoformat(timespec="milliseconds"),
        "active_s": round(active_s, 3),
        "per_hour": round(decided / active_s * 3600, 1) if active_s and decided else None,
        "cost_usd": cost_usd,
        "tokens": tokens,
        "hints": list(_hints(trail)),
        "last": [trail.plain(experiment) for experiment in record.history[-LAST:]],
    }


def is_running(folder: Path) -> bool:
    """Whether a process holds the session in ``folder``."""
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, no session that runs
        return False
    return False


def lines(found: Mapping[str, Any], metric: Metric) -> Iterator[str]:
    """The status for people, except for the last experiments."""
    state = (
        "running" if found["running"] else f"not running ({one_line(found['closed']) or 'it was ended from outside'})"
    )
    yield f"session    {found['tag']}, {state}"
    isolation = "{sandbox} ({level})".format_map(found["isolation"])
    yield f"target     {found['target']}: {metric.name}, isolation {isolation}"
    yield f"branch     {found['branch']}; ledger {found['ledger']}"
    if found["champion"]:
        n, best = found["champion"]["n"], found["champion"]["value"]
        yield f"result     {words.progress_of(found['baseline']['value'], best, metric)}; champion #{n}"
    else:
        yield "result     none: the baseline has no score yet"
    yield f"tried      {words.plural(found['experiments'], 'experiment')}: {words.counted(found['verdicts'])}"
    if found["pending"]:
        yield f"pending    {', '.join(f'#{n}' for n in found['pending'])}"
    rate = f", {found['per_hour']:.0f} experiments an hour" if found["per_hour"] else ""
    yield f"time       {words.duration(found['active_s'])}{rate}; last written {found['last_at']}"
    if found["cost_usd"] is not None or found["tokens"]:
        price = "unknown price" if found["cost_usd"] is None else f"${found['cost_usd']:.2f}"
        yield f"cost       {price}, {found['tokens']} tokens"
    for hint in found["hints"]:
        yield f"note       {hint}"


def _point(experiment: Experiment | None, metric: Metric) -> dict[str, Any] | None:
    if experiment is None:
        return None
    return {"n": experiment.n, "value": experiment.metrics[metric.name], "commit": experiment.head}


def _hints(trail: Trail) -> Iterator[str]:
    first, latest = (opening["identity"] for opening in (trail.record.opened, trail.openings[-1]))
    for name in sorted(first["versions"].keys() | latest["versions"].keys()):
        then, now = (identity["versions"].get(name, "none") for identity in (first, latest))
        if then != now:
            yield f"{name} was {then} for the baseline and is {now} since the session was last resumed"
    here = hardware.fingerprint()
    for name in COMPARED_MACHINE:
        if first["machine"].get(name) != here[name]:
            yield f"measured on another machine: its {name} is {first['machine'].get(name)}, here it is {here[name]}"
