"""The isolation backends by name, best first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from looper.sandbox import bwrap, native
from looper.sandbox.protocol import Level
from looper.sandbox.view import View


class Backend(NamedTuple):
    """How the zygote confines itself, before it has seen anything that is not to be trusted.

    Args:
        name: as in ``--sandbox``.
        level: what its workers are held to.
        enter: confines the calling process to a view; returns the layers that are on. OSError when it is refused.
    """

    name: str
    level: Level
    enter: Callable[[View], list[str]]


def _stay(view: View) -> list[str]:
    """Nothing is done to the zygote; the worker's own lockdown, if its level has one, is all."""
    return []


#: What ``auto`` tries, in this order; the others are for those who ask for them.
AUTOMATIC = ("bwrap", "native", "landlock")

BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("bwrap", Level.NAMESPACES, bwrap.enter),
        Backend("native", Level.NAMESPACES, native.enter),
        Backend("landlock", Level.LANDLOCK, _stay),
        Backend("process", Level.PROCESS, _stay),
    )
}
