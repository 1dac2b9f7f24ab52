"""looper: an editable file, a locked evaluator, a fixed budget, keep or revert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Budget", "Metric", "Option", "Proposal", "Proposer", "Target", "__version__", "hookimpl"]

if TYPE_CHECKING:
    from looper.hookspecs import hookimpl
    from looper.models import Budget, Metric, Option, Proposal, Proposer, Target


def __getattr__(name: str) -> Any:
    # Resolved on first use: the evaluator and worker processes import looper.evaluation for every
    # experiment and must not pay for pluggy and the records, which they never touch.
    if name == "hookimpl":
        from looper.hookspecs import hookimpl

        return hookimpl
    if name in __all__:
        from looper import models

        return getattr(models, name)
    raise AttributeError(f"module 'looper' has no attribute {name!r}")
