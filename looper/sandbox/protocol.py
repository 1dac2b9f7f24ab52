"""What an isolation backend is."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol

from looper.sandbox.proctree import Usage

WORK_IN_ENV = "{work}"  # in a value of Spec.env: the worker's working folder


class Level(IntEnum):
    """How much a backend holds back. Written to every measurement; never compared across levels."""

    PROCESS = 0  # a process of its own with limits: stops accidents, not adversaries
    LANDLOCK = 1  # the kernel refuses files, sockets and system calls that were not granted
    NAMESPACES = 2  # the worker sees no file, process or network but its own
    CONTAINER = 3  # a container runtime


class Layer(NamedTuple):
    """One mechanism of a backend: whether it is on here, why not, and how to get it."""

    name: str
    on: bool
    why: str = ""
    fix: str = ""


class Limits(NamedTuple):
    """What one worker may use; time is watched from outside.

    Args:
        memory_mb: MiB of memory, what it writes to its folders included; None for no limit. Held by a control group
            where there is one, else by whoever watches.
        disk_mb, inodes: MiB, and files and folders, that it may write in all; held where its folders are its own.
        file_mb: MiB of any one file.
        open_files: descriptors of one process.
        processes: processes and threads.
    """

    memory_mb: int | None = None
    disk_mb: int = 1024
    inodes: int = 65_536
    file_mb: int = 4096
    open_files: int = 1024
    processes: int = 1024


class Spec(NamedTuple):
    """A worker to start.

    Args:
        main: the module whose ``main(channel_fd, folder)`` the worker runs once it is confined; ``folder`` holds its
            files.
        env: the worker's whole environment; nothing is inherited.
        files: what it may read besides the Python environment, by path relative to its folder.
        scratch: a folder of the host's, for backends without memory of their own to write to.
        limits: what it may use.
        cores: the cores it may run on; empty for all.
        devices: device nodes of the GPUs that it may use, of those that the sandbox was opened with.
        hidden: files and folders that it must not be able to read although the environment holds them.
    """

    main: str
    env: Mapping[str, str]
    files: Mapping[str, bytes]
    scratch: str
    limits: Limits = Limits()
    cores: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    def memfds(self, counted: bool) -> bool:
        """Whether it may make memory files of its own: only where they are ``counted`` against its memory.

        A CUDA driver cannot do without.
        """
        return counted or bool(self.devices)


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

    def memory_mb(self) -> float:
        """MiB that it holds, pages that its processes share counted once; what ``usage`` says may be more."""
        ...

    def waited_s(self) -> float:
        """Seconds that the most delayed process of the tree was ready to run and had no core."""
        ...

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended any of its processes because memory ran out."""
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
