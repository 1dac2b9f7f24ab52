"""Accounting of a process tree from ``/proc``: CPU seconds and resident memory.

Resolution is the kernel's clock tick, 10 ms on common systems. A process that ignores SIGCHLD makes the
kernel forget the time of its dead children; what such a child had used when it was last seen is kept, so only
children that live for less than one look are lost, and those a wall-time cap has to bound.
"""

from __future__ import annotations

import os
from typing import NamedTuple

TICK = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Usage(NamedTuple):
    """What a process tree uses: CPU seconds so far, MiB of resident memory now, living processes."""

    cpu_s: float
    memory_mb: float
    processes: int


class ProcessTree:
    """The processes below ``root``, a launcher.

    Of ``root`` itself and of its first child, init, which are not the worker's, only what their dead children
    used is counted.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._ours = {root, *children_of(root)}
        self._seen: dict[tuple[int, int], _Process] = {}
        self._lost = 0.0

    def look(self) -> Usage:
        """The usage now. CPU seconds never fall, whichever way children end between two looks."""
        now = self._processes()
        if self._seen.keys() - now.keys():
            # A dead child's time reaches its parent just before the child disappears, and an orphan can be
            # missed on its way to another parent: read again before anything is called lost.
            now = self._processes()
        gone = sum(process.own_s + process.dead_s for key, process in self._seen.items() if key not in now)
        inherited = sum(now[key].dead_s - self._seen[key].dead_s for key in now.keys() & self._seen.keys())
        self._lost += max(0.0, gone - inherited)
        self._seen = now
        return Usage(
            sum(process.own_s + process.dead_s for process in now.values()) + self._lost,
            sum(process.memory_mb for process in now.values()),
            len(now),
        )

    def memory_mb(self) -> float:
        """MiB that the processes hold, pages that several share counted once; slower than :meth:`look`."""
        return sum(_share_mb(pid) for pid, _ in self._processes() if pid not in self._ours)

    def waited_s(self) -> float:
        """Seconds that the most delayed process's main thread was ready to run and had no core."""
        return max((_waited(pid) for pid, _ in self._processes()), default=0.0)

    def _processes(self) -> dict[tuple[int, int], _Process]:
        """Every living process of the tree, by number and start time: numbers are used again."""
        found: dict[tuple[int, int], _Process] = {}
        queue = [self._root]
        while queue:
            pid = queue.pop()
            queue += children_of(pid)
            process = _read(pid)
            if process is not None:
                if pid in self._ours:
                    process = process._replace(own_s=0.0, memory_mb=0.0)
                found[pid, process.started] = process
        return found


def children_of(pid: int) -> list[int]:
    """The children of every thread of ``pid``."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as f:
                children += map(int, f.read().split())
    except OSError:
        pass  # it ended while we looked
    return children


def oom_kills() -> int:
    """How many processes the kernel has ended on this machine because memory ran out; 0 where it keeps no count."""
    try:
        with open("/proc/vmstat") as f:
            return next((int(line.split()[1]) for line in f if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


class _Process(NamedTuple):
    started: int
    own_s: float
    dead_s: float  # of its dead and waited-for children
    memory_mb: float


def _read(pid: int) -> _Process | None:
    """None once it is gone. Fields are numbered in proc_pid_stat(5), from 1; those after the name start at 3."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    user, system, dead_user, dead_system = map(int, fields[11:15])
    return _Process(
        started=int(fields[19]),
        own_s=(user + system) / TICK,
        dead_s=(dead_user + dead_system) / TICK,
        memory_mb=int(fields[21]) * PAGE_MB,
    )


def _share_mb(pid: int) -> float:
    """A process's share of the memory that it maps; all of it where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            return next((int(line.split()[1]) / 1024 for line in f if line.startswith("Pss:")), 0.0)
    except OSError:
        process = _read(pid)
        return process.memory_mb if process else 0.0


def _waited(pid: int) -> float:
    """From the scheduler's statistics: ran ns, waited ns, time slices. 0 where the kernel keeps none."""
    try:
        with open(f"/proc/{pid}/schedstat") as f:
            return int(f.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
