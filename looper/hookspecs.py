"""Every extension point of looper.

A plugin is a module (a target's ``target.py``, or an installed package under the entry-point group
``looper``) with functions of these names, marked ``@looper.hookimpl``. An implementation takes only
the arguments it needs. Built-ins come through the same door; later plugins win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from looper.models import Decision, Experiment, Measurement, Option, Proposer, Target

hookspec = pluggy.HookspecMarker("looper")
hookimpl = pluggy.HookimplMarker("looper")


@hookspec
def looper_options() -> Sequence[Option]:
    """Options that this plugin adds to ``looper run`` and ``looper check``."""


@hookspec(firstresult=True)
def looper_target(options: Mapping[str, Any]) -> Target | None:
    """The target. ``options`` holds the values of this plugin's own options."""


@hookspec
def looper_prepare(target: Target) -> Mapping[str, str] | None:
    """Make what the evaluator needs (data, profiles). Idempotent, may take long, shows its progress.

    Returns facts that identify the inputs, such as a corpus hash: they are written to the ledger, and
    measurements with different facts are never compared. A fact whose name ends in ``_path`` says where
    something is, not what: the evaluator gets it, the ledger does not.
    """


@hookspec(firstresult=True)
def looper_proposer(name: str, target: Target, options: Mapping[str, Any]) -> Proposer | None:
    """The proposer of that name, or None when this plugin has no such proposer."""


@hookspec(firstresult=True)
def looper_judge(target: Target, champion: Experiment, measurement: Measurement) -> Decision | None:
    """The verdict on an ``ok`` measurement against the champion of this moment."""


@hookspec
def looper_experiment(target: Target, experiment: Experiment) -> None:
    """An experiment was decided and is in the ledger. For notifications; cannot change anything."""
