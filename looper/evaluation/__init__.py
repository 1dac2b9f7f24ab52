"""What a target's ``evaluate.py`` imports: the run it is handed, and how it refuses a candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from looper.evaluation.failures import Invalid

if TYPE_CHECKING:
    from looper.evaluation.run import Run

__all__ = ["Invalid", "Run"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: the command line cleans text with a module of this package, and runs nothing.
    if name == "Run":
        from looper.evaluation.run import Run

        return Run
    raise AttributeError(f"module 'looper.evaluation' has no attribute {name!r}")
