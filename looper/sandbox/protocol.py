"""What an isolation backend is."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol

from looper.sandbox.proctree import Usage


class Level(IntEnum):
    """How much a backend holds back. Written to every measurement; never compared across levels."""

    PROCESS = 0  # a process of its own with limits: stops accidents, not adversaries
    LANDLOCK = 1  # the kernel refuses files and sockets that were not granted
    NAMESPACES = 2  # the worker sees no file, process or network but its own
    CONTAINER = 3  # a container runtime


class Layer(NamedTuple):
    """One mechanism of a backend: whether it is on here, why not, and how to get it."""

    name: str
    on: bool
    why: str = ""
    fix: str = ""


class Limits(NamedTuple):
    """What one worker may use of what the kernel limits by itself; time and memory are watched from outside."""

    file_mb: int = 4096
    open_files: int = 1024


class Spec(NamedTuple):
    """A worker to start.

    Args:
        main: the module whose ``main(channel_fd)`` the worker runs once it is confined.
        env: the worker's whole environment; nothing is inherited.
        cwd: its working folder, fresh and its own.
        limits: what it may use.
        cores: the cores it may run on; empty for all.
    """

    main: str
    env: Mapping[str, str]
    cwd: str
    limits: Limits = Limits()
    cores: tuple[int, ...] = ()


class Confined(Protocol):
    """A worker that was started: its two streams, its accounting, and its end.

    Attributes:
        channel: this end of the socket the worker talks on.
        log_fd: read end of the pipe that carries the worker's stdout and stderr; whoever started it closes it.
        layers: names of the layers that are really on.
        exit_code: how the worker ended by itself, negative for a signal; None while it is not known, and
            when it was ended from outside. Set by :meth:`kill` and :meth:`reap`.
    """

    channel: socket.socket
    log_fd: int
    layers: tuple[str, ...]
    exit_code: int | None

    def usage(self) -> Usage:
        """What the worker's whole process tree uses, dead children's CPU time included."""
        ...

    def waited_s(self) -> float:
        """Seconds that the most delayed process of the tree was ready to run and had no core."""
        ...

    def kill(self) -> None:
        """End the whole process tree, at once, whatever it forked; returns when none of it is left."""
        ...

    def reap(self) -> bool:
        """For a worker that closed its channel: wait a moment for it to end, then end what is left.

        Returns:
            False when it ran on.
        """
        ...


class Sandbox(Protocol):
    """A backend."""

    name: str
    level: Level

    def probe(self) -> list[Layer]:
        """Try every layer with the flags used in production."""
        ...

    def start(self, spec: Spec) -> Confined:
        """Start a worker.

        Raises:
            OSError: when the system refuses.
        """
        ...
