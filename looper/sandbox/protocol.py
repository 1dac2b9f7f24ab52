"""What an isolation backend is."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol


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
    """What one worker may use, beyond time. ``memory_mb`` counts the whole process tree, in MiB."""

    memory_mb: int | None = None
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
        log_fd: read end of the pipe that carries the worker's stdout and stderr.
        layers: names of the layers that are really on.
        ending: how the worker ended, in words, and None while it is not known; set by :meth:`reap`.
        killed_by: the signal that ended the worker, None when it exited by itself.
    """

    channel: socket.socket
    log_fd: int
    layers: tuple[str, ...]
    ending: str | None
    killed_by: int | None

    def cpu_s(self) -> float:
        """CPU seconds that the worker's whole process tree has used so far, dead children included."""
        ...

    def waited_s(self) -> float:
        """Seconds that the most delayed process of the tree was ready to run and had no core."""
        ...

    def memory_mb(self) -> float:
        """Resident memory of the worker's whole process tree now, in MiB."""
        ...

    def kill(self) -> None:
        """End the whole process tree, at once, whatever it forked; returns when none of it is left."""
        ...

    def reap(self) -> None:
        """Wait for a worker that closed its channel, and learn how it ended."""
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
