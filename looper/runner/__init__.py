"""Runs evaluators for candidates: here on this machine, one process tree a slot."""

from __future__ import annotations

from looper.runner.local import LocalRunner, slots_for
from looper.runner.slot import Done, Job, Progress

__all__ = ["Done", "Job", "LocalRunner", "Progress", "slots_for"]
