"""Isolation backends: how a worker process is confined, limited, accounted and killed.

Imported by ``looper.runner`` and ``looper.evaluation`` alone, and by ``looper doctor`` for its table.
"""

from __future__ import annotations

from looper.sandbox.process import Launch, ProcessSandbox, launch_program, python_code
from looper.sandbox.proctree import Usage
from looper.sandbox.protocol import Confined, Layer, Level, Limits, Sandbox, Spec

__all__ = ["Confined", "Launch", "Layer", "Level", "Limits", "Sandbox", "Spec", "Usage", "get", "probe", "python_code"]

BACKENDS = {"process": ProcessSandbox}


def get(name: str, launch: Launch = launch_program) -> Sandbox:
    """The backend of that name, whose launchers are started by ``launch``.

    Raises:
        KeyError: when there is none.
    """
    return BACKENDS[name](launch)


def probe() -> list[Layer]:
    """What each backend would hold back on this machine, found out by trying."""
    return [layer for backend in BACKENDS.values() for layer in backend().probe()]
