"""What a target's ``evaluate.py`` imports: the run it is handed, and how it refuses a candidate."""

from __future__ import annotations

from looper.evaluation.failures import Invalid
from looper.evaluation.run import Run

__all__ = ["Invalid", "Run"]
