"""Accounting of a process tree from ``/proc``: CPU seconds and resident memory.

Resolution is the kernel's clock tick, 10 ms on common systems. A process that ignores SIGCHLD makes the
kernel forget the time of its dead children; what such a child had used when it was last seen is kept.
"""

from __future__ import annotations

import os

TICK = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class ProcessTree:
    """The processes below ``root``. Of ``root`` itself only what its dead children used is counted."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._seen: dict[int, tuple[float, float]] = {}
        self._lost = 0.0

    def pids(self) -> list[int]:
        """Every living process of the tree, parents first."""
        found: list[int] = []
        queue = [self.root]
        while queue:
            for child in _children(queue.pop()):
                found.append(child)
                queue.append(child)
        return found

    def cpu_s(self) -> float:
        """CPU seconds of the tree so far. Never falls, whichever way children end between two looks."""
        now = self._look()
        if self._seen.keys() - now.keys():
            # A dead child's time reaches its parent just before the child disappears: read again, so
            # that what the survivors inherited is known before anything is called lost.
            now = self._look()
        vanished = sum(sum(times) for pid, times in self._seen.items() if pid not in now)
        inherited = sum(now[pid][1] - self._seen[pid][1] for pid in now.keys() & self._seen.keys())
        self._lost += max(0.0, vanished - inherited)
        self._seen = now
        return sum(own + dead for own, dead in now.values()) + self._lost

    def waited_s(self) -> float:
        """Seconds that the most delayed process's main thread was ready to run and had no core."""
        return max((_waited(pid) for pid in self.pids()), default=0.0)

    def memory_mb(self) -> float:
        """Resident memory of the tree now, in MiB; pages shared by two processes count twice."""
        return sum(_resident_mb(pid) for pid in self.pids())

    def _look(self) -> dict[int, tuple[float, float]]:
        """pid -> (own CPU seconds, CPU seconds of its dead and waited-for children)."""
        looked = {pid: _cpu(pid) for pid in self.pids()}
        times = {pid: found for pid, found in looked.items() if found is not None}
        root = _cpu(self.root)
        if root is not None:
            times[self.root] = (0.0, root[1])
        return times


def _children(pid: int) -> list[int]:
    """Children of every thread of ``pid``."""
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as f:
                children += map(int, f.read().split())
    except OSError:
        pass  # it ended while we looked
    return children


def _cpu(pid: int) -> tuple[float, float] | None:
    """(own CPU seconds, CPU seconds of its dead and waited-for children); None once it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    user, system, dead_user, dead_system = map(int, fields[11:15])
    return (user + system) / TICK, (dead_user + dead_system) / TICK


def _resident_mb(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm") as f:
            return int(f.read().split()[1]) * PAGE_MB
    except OSError:
        return 0.0


def _waited(pid: int) -> float:
    """From the scheduler's statistics: ran ns, waited ns, time slices. 0 where the kernel keeps none."""
    try:
        with open(f"/proc/{pid}/schedstat") as f:
            return int(f.read().split()[1]) / 1e9
    except OSError:
        return 0.0
