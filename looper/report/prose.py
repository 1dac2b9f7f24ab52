"""What is said when a session opens and when it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from looper import hardware
from looper.evaluation.logtext import one_line
from looper.models import Budget, Experiment, Target
from looper.places import ledger_path
from looper.report import commands, words
from looper.runner import slots_for
from looper.session import Session
from looper.stop import Request

KEPT_SHOWN = 20
BETTER = {"min": "lower is better", "max": "higher is better"}
ISOLATION = {
    "process": "stops accidents, not malice: candidates can reach your files and the network",
    "landlock": "no files, no network; the list of processes, the disk's space and the memory are shared",
    "namespaces": "no files, processes or network but a candidate's own",
    "container": "a container for each candidate",
}


def opening(session: Session, target: Target, request: Request) -> Iterator[str]:
    """What is about to happen, a line at a time."""
    record, metric = session.lab.record, target.metric
    slots = len(slots_for(target, request.slots, hardware.gpus()))
    isolation = record.opened["identity"]["isolation"]
    ledger = ledger_path(session.home, session.tag)
    goal = "" if metric.goal is None else f", until {words.number(metric.goal)}"
    yield f"looper optimises {target.name}: {metric.name}, {BETTER[metric.direction]}{goal}"
    yield f"  session    {session.tag}, on branch {session.lab.workspace.branch_name}; ledger {_near(ledger)}"
    yield (
        f"  budget     {budget(target.budget)}; {slots} at once"
        if slots > 1
        else f"  budget     {budget(target.budget)}"
    )
    yield f"  isolation  {isolation['sandbox']}: {ISOLATION[isolation['level']]}"
    champion = record.champion
    if champion is None:
        yield "  baseline   measured first"
    else:
        yield (
            f"  resumed    {words.plural(record.next_n - 1, 'experiment')} so far; champion #{champion.n} with "
            f"{metric.name} {words.number(champion.metrics[metric.name])}"
        )
    for note in session.notes:
        yield f"  note       {note}"


def budget(given: Budget) -> str:
    """Such as ``20 CPU-seconds of run, 60 s of setup, 60 s of scoring``."""
    unit = "CPU-seconds" if given.clock == "cpu" else "s"
    return f"{given.run_s:g} {unit} of run, {given.setup_s:g} s of setup, {given.score_s:g} s of scoring"


def ending(session: Session, target: Target, request: Request, reason: str) -> Iterator[str]:
    """What came of it and what can be done next, a line at a time; no ``reason`` when it was cut short."""
    record, home, tag = session.lab.record, session.home, session.tag
    cut = "Stopped before its time; everything up to here is on record"
    yield f"Ended: {reason}." if reason else f"{cut}."
    again = commands.again(target, request, tag)
    if record.champion is None or record.baseline is None:
        yield from _no_baseline(record.history)
        yield f"  go on    {again}"
        return
    baseline, best = (e.metrics[target.metric.name] for e in (record.baseline, record.champion))
    kept = record.kept()[1:]
    git_dir = session.lab.workspace.git.git_dir
    yield f"  result   {words.progress_of(baseline, best, target.metric)}"
    yield f"  tried    {words.counted(words.verdicts(record.history))}"
    yield from _kept(kept, target)
    yield f"  branch   {commands.history(home, git_dir, tag)}"
    if kept:
        yield f"  take it  {commands.taking(home, git_dir, tag, target)}"
    yield f"  look     {commands.reading(home, tag, 'log')}"
    shown = kept[-1].n if kept else max((e.n for e in record.history), default=0)
    if shown:
        yield f"           {commands.reading(home, tag, f'show {shown}')}"
        yield f"           {commands.reading(home, tag, f'diff {shown}')}"
    yield f"  go on    {again}"


def _no_baseline(history: list[Experiment]) -> Iterator[str]:
    if not history:
        yield "  The baseline was not measured yet."
        return
    last = history[-1]
    yield f"  The baseline has no score ({last.verdict}): {one_line(last.reason)}"


def _kept(kept: list[Experiment], target: Target) -> Iterator[str]:
    label = "kept"
    if not kept:
        yield f"  {label:<8} nothing yet"
    if len(kept) > KEPT_SHOWN:
        yield f"  {label:<8} {len(kept)} in all; the last {KEPT_SHOWN}:"
        label = ""
    for experiment in kept[-KEPT_SHOWN:]:
        value = words.number(experiment.metrics[target.metric.name])
        moved = words.change(experiment, target.metric)
        yield f"  {label:<8} #{experiment.n}  {value}  {moved}  {words.said(experiment)}"
        label = ""


def _near(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
