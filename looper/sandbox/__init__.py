"""Isolation backends: how a worker process is confined, limited, accounted and killed.

Imported by ``looper.runner`` and ``looper.evaluation`` alone, and by ``looper doctor`` for its table.
"""

from __future__ import annotations

from looper.sandbox.backends import AUTOMATIC, BACKENDS
from looper.sandbox.cgroup import prepare as prepare_groups
from looper.sandbox.confined import Launch, Sandbox
from looper.sandbox.probing import Probe, available, explain, probe, report
from looper.sandbox.proctree import Usage
from looper.sandbox.protocol import WORK_IN_ENV, Confined, Layer, Level, Limits, Spec
from looper.sandbox.python import python_code
from looper.sandbox.view import gpu_nodes

__all__ = [
    "AUTOMATIC",
    "BACKENDS",
    "WORK_IN_ENV",
    "Confined",
    "Launch",
    "Layer",
    "Level",
    "Limits",
    "Probe",
    "Sandbox",
    "Spec",
    "Usage",
    "available",
    "explain",
    "gpu_nodes",
    "prepare_groups",
    "probe",
    "python_code",
    "report",
]
