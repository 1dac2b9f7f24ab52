"""Isolation backends: how a worker process is confined, limited, accounted and killed.

Imported by ``looper.runner`` and ``looper.evaluation`` alone, and by ``looper doctor`` for its table.
"""

from __future__ import annotations

from looper.sandbox.process import ProcessSandbox
from looper.sandbox.protocol import Confined, Layer, Level, Limits, Sandbox, Spec

__all__ = ["Confined", "Layer", "Level", "Limits", "Sandbox", "Spec", "get", "probe"]

BACKENDS: dict[str, Sandbox] = {"process": ProcessSandbox()}


def get(name: str) -> Sandbox:
    """The backend of that name.

    Raises:
        KeyError: when there is none.
    """
    return BACKENDS[name]


def probe() -> list[Layer]:
    """What each backend would hold back on this machine, found out by trying."""
    return [layer for backend in BACKENDS.values() for layer in backend.probe()]
