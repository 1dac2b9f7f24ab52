"""The isolation backends by name, best first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from looper.sandbox import bwrap, container, launcher, native
from looper.sandbox.launcher import Ends
from looper.sandbox.protocol import Level
from looper.sandbox.view import View


class Backend(NamedTuple):
    """How the zygote confines itself, before it has seen anything that is not to be trusted.

    Args:
        name: as in ``--sandbox``.
        level: what its workers are held to.
        enter: confines the calling process to a view; returns the layers that are on. OSError when it is refused.
        launch: what a fork of it does to be a worker's launcher; see :func:`looper.sandbox.launcher.launch`.
    """

    name: str
    level: Level
    enter: Callable[[View], list[str]]
    launch: Callable[[dict[str, Any], Ends], NoReturn] = launcher.launch


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
        Backend("container", Level.CONTAINER, container.enter, container.launch),
        Backend("process", Level.PROCESS, _stay),
    )
}
