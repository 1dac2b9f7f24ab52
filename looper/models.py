"""Frozen records that every other module speaks in. No I/O here.

The words are those of the README's glossary: target, proposer, candidate, measurement, verdict,
champion, experiment.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Direction = Literal["min", "max"]
Clock = Literal["wall", "cpu"]
Device = Literal["cpu", "cuda"]

#: How a measurement ended. Only ``ok`` carries metrics. ``tampered``: what the score rests on was changed meanwhile.
Status = Literal["ok", "crash", "oom", "nan", "timeout", "invalid", "tampered", "infra"]

#: What became of an experiment.
Verdict = Literal["keep", "discard", "crash", "timeout", "invalid", "duplicate", "stale"]


@dataclass(frozen=True, slots=True)
class Metric:
    """The number a target is judged by.

    Args:
        name: the key under which ``evaluate.py`` reports it.
        direction: ``min`` when lower is better, ``max`` when higher is.
        min_delta: an improvement must exceed this to count, in the metric's own unit.
        goal: the session stops once the champion is at least this good; None for no goal.
    """

    name: str
    direction: Direction = "min"
    min_delta: float = 0.0
    goal: float | None = None

    def __post_init__(self) -> None:
        if self.direction not in ("min", "max"):
            raise ValueError(f"Metric.direction must be 'min' or 'max', not {self.direction!r}.")
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0):
            raise ValueError(f"Metric.min_delta must be a number of at least 0, not {self.min_delta!r}.")

    def gain(self, new: float, old: float) -> float:
        """How much better ``new`` is than ``old``: positive when better, whatever the direction."""
        return old - new if self.direction == "min" else new - old

    def reached(self, value: float) -> bool:
        """Whether ``value`` is at least as good as the goal."""
        return self.goal is not None and self.gain(value, self.goal) >= 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What every candidate gets, enforced from outside the candidate's process.

    Args:
        run_s: seconds between the start and the end of ``run.clock()``, on ``clock``.
        setup_s: wall seconds from the worker's start until the clock starts (imports, compilation).
        score_s: wall seconds from the end of the clock until the report.
        clock: ``wall``, or ``cpu`` for the CPU seconds of the worker's whole process tree, read from
            the kernel's accounting: under load it repeats far better than wall time.
        wall_factor: with the ``cpu`` clock, the run is also ended after ``wall_factor * run_s`` wall
            seconds, so that a candidate that sleeps cannot hold a slot for ever.
        memory_mb: resident memory of the worker's whole process tree, in MiB; None for no limit.
    """

    run_s: float
    setup_s: float = 30.0
    score_s: float = 30.0
    clock: Clock = "wall"
    wall_factor: float = 4.0
    memory_mb: int | None = None

    def __post_init__(self) -> None:
        for name in ("run_s", "setup_s", "score_s", "wall_factor"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Budget.{name} must be a number above 0, not {value!r}.")
        if self.clock not in ("wall", "cpu"):
            raise ValueError(f"Budget.clock must be 'wall' or 'cpu', not {self.clock!r}.")

    @property
    def run_wall_s(self) -> float:
        """Wall seconds after which a run is ended whatever its clock says."""
        return self.run_s * self.wall_factor if self.clock == "cpu" else self.run_s


@dataclass(frozen=True, slots=True)
class Option:
    """A command-line option that a plugin adds to ``looper run`` and ``looper check``.

    Args:
        name: without dashes; ``fixed_steps`` becomes ``--fixed-steps``.
        default: the value when the option is not given; its type is the option's type, None means text.
        help: one line for ``--help``.
        choices: the values allowed; empty for any.
    """

    name: str
    default: str | int | float | bool | None
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """What is optimised: a folder with ``target.py``, ``evaluate.py``, editable file(s), ``program.md``.

    Args:
        name: letters, digits, ``-``, ``_`` and ``.``; the default tag of its sessions.
        root: the folder.
        editable: paths relative to ``root`` that a proposal may change; every other file is locked.
        metric: what decides.
        budget: what every candidate gets.
        device: ``cuda`` gives each slot one GPU, ``cpu`` gives each slot one core.
        settings: plain values the evaluator reads as ``run.settings``; part of the session's identity.
        evaluator: path of the locked evaluator, relative to ``root``.
        program: path of the instructions for proposers, relative to ``root``.
        preload: modules that evaluator and worker begin with, imported once a session and not once an experiment.
            They must start no thread and touch no GPU when they are imported.
    """

    name: str
    root: Path
    editable: tuple[str, ...]
    metric: Metric
    budget: Budget
    device: Device = "cpu"
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluator: str = "evaluate.py"
    program: str = "program.md"
    preload: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.editable, tuple):
            raise TypeError(f'Target.editable is a tuple of paths, not {self.editable!r}: write ("{self.editable}",).')


@dataclass(frozen=True)
class Proposal:
    """One suggested change: whole new texts of the editable files it touches, and why.

    Args:
        files: path relative to the target's root -> the file's complete new text.
        hypothesis: one line, for people and for the ledger.
        meta: plain values that the proposer wants back from the ledger later (its own business).
        cost_usd: what the proposal cost, None when it cost nothing or the price is unknown.
        tokens: tokens spent on it, 0 when none were.
    """

    files: Mapping[str, str]
    hypothesis: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    cost_usd: float | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one evaluation returned.

    Args:
        status: how it ended; only ``ok`` has metrics.
        metrics: finite floats by name, the target's metric among them; empty unless ``ok``.
        reason: one line for people; empty when ``ok``.
        seed: what looper drew for this evaluation, 0 <= seed < 2**63.
        timings: seconds by name: ``setup_s``, ``run_s``, ``score_s`` (wall), ``run_cpu_s``, ``total_s``.
        facts: other plain values worth recording (isolation level and layers, cpu/wall ratio, reruns).
        log: the last lines the worker or the evaluator printed, control characters removed.
    """

    status: Status
    metrics: Mapping[str, float]
    reason: str
    seed: int
    timings: Mapping[str, float]
    facts: Mapping[str, Any]
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, why, and by how much the metric changed for the better (None without a metric)."""

    verdict: Verdict
    reason: str
    gain: float | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """One trip: propose, measure, judge, record. The baseline is experiment 0.

    Args:
        n: its number in the session.
        attempt: 1, or higher after it was re-applied to a newer champion.
        parent: commit of the champion that it changes; for the baseline, its own commit.
        commit: commit of the candidate, reachable as ``refs/looper/<tag>/tried/<n>``.
        tree: git tree of the candidate's target folder: equal trees are the same candidate.
        proposer: name of who proposed it, ``baseline`` for experiment 0.
        hypothesis: the proposal's one line.
        meta: the proposal's meta, as it was given.
        metrics: from the measurement that decided; empty when there is none.
        status: status of that measurement, None before it was measured.
        verdict: None while it is running.
        reason: why the verdict.
        gain: improvement over the champion of that moment, positive is better.
        head: commit of the champion after the verdict; for a keep, this experiment's commit on the branch.
    """

    n: int
    attempt: int
    parent: str
    commit: str
    tree: str
    proposer: str
    hypothesis: str
    meta: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict)
    status: Status | None = None
    verdict: Verdict | None = None
    reason: str = ""
    gain: float | None = None
    head: str = ""


@dataclass(frozen=True)
class Context:
    """What a proposer sees.

    Args:
        target: the target.
        files: text of every editable file of the champion, by path.
        champion: the experiment that the next proposal changes.
        history: every experiment that has a verdict, oldest first, the baseline among them.
        pending: experiments proposed and not decided yet.
    """

    target: Target
    files: Mapping[str, str]
    champion: Experiment
    history: Sequence[Experiment]
    pending: Sequence[Experiment] = ()


class Proposer(ABC):
    """Suggests changes. Subclasses live one to a file in ``looper.proposers`` or in plugins."""

    name: str

    @abstractmethod
    def propose(self, context: Context) -> Proposal | None:
        """The next change to the champion, or None when there is nothing left to propose.

        Called again after a crash of looper with the same ledger: everything the proposer needs to
        know must come from ``context``.
        """

    def reapply(self, proposal: Experiment, files: Mapping[str, str]) -> Mapping[str, str] | None:
        """The proposal applied to another champion's ``files``, or None to leave it to a three-way merge."""
        return None
