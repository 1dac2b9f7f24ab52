"""A control group for one worker: the kernel's own limit on its memory and its processes.

Made below this process's group of cgroup v2 where that is ours to divide, else below its groups of cgroup v1.

What is covered: everything that the worker's processes allocate together, files in memory (tmpfs, memfd) and the
kernel's own structures for them included; no swap; and how many processes and threads they are.
What is not covered: memory that another process touched first, such as a shared array made by the evaluator, and
the GPU's. A process of the same user that sees the groups' folders can move itself out: a worker must not see them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from looper.sandbox.proctree import children_of
from looper.sandbox.protocol import Layer
from looper.sandbox.signed import is_abandoned, signed_name

MB = 1 << 20
CONTROLLERS = {"memory", "pids"}
OURS = "looper-self"  # the group of looper's own processes: in version 2 a group with subgroups holds no process
PATIENCE_S = 1.0  # for the kernel to end killed processes: freeing gigabytes takes a part of a second


class Names(NamedTuple):
    """How a version of cgroups calls the files of a group that begin with ``memory.``."""

    version: int
    limit: str
    swap: str  # in version 1 of memory and swap together
    usage: str
    peak: str
    kills: str
    stat: str  # what the names in memory.stat begin with


V1 = Names(1, "limit_in_bytes", "memsw.limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "oom_control", "total_")
V2 = Names(2, "max", "swap.max", "current", "peak", "events", "")


class Parent(NamedTuple):
    """Where workers' groups are made: with version 2, both folders are the same."""

    names: Names
    memory: Path
    pids: Path


class Cgroup:
    """One worker's group. Made with :meth:`create`; lives until :meth:`remove`.

    Attributes:
        version: of cgroups, 1 or 2.
        procs: files of the group, open for writing. Whoever writes ``b"0"`` to each of them, with one thread, joins
            with all that it forks from then on, by the rights of this process; a worker must not hold them.
    """

    def __init__(self, parent: Parent, name: str) -> None:
        self.version = parent.names.version
        self._names = parent.names
        self._memory = parent.memory / name
        self._pids = parent.pids / name
        self._folders = list(dict.fromkeys((self._memory, self._pids)))
        self.procs: list[int] = []

    @classmethod
    def create(cls, memory_mb: int | None, processes: int) -> Cgroup | None:
        """A new, empty group; None where none can be had.

        Args:
            memory_mb: MiB that all of its processes may use together; None for no limit.
            processes: how many processes and threads it may hold, whoever joins first included.
        """
        parent = _parent()
        if parent is None:
            return None
        _sweep(parent)
        group = cls(parent, signed_name())
        try:
            group._make(memory_mb, processes)
        except OSError:
            group.remove()
            return None
        return group

    def close_procs(self) -> None:
        """Close :attr:`procs`: nobody else will join."""
        while self.procs:
            os.close(self.procs.pop())

    def oom_kills(self) -> int:
        """How many of its processes the kernel has ended because memory ran out; version 2 counts some twice."""
        return _table(self._memory / f"memory.{self._names.kills}").get("oom_kill", 0)

    def memory_mb(self) -> float:
        """MiB in use that count against the limit: not the cache of files on disk, which the kernel drops first."""
        stat = _table(self._memory / "memory.stat")
        cache = sum(stat[f"{self._names.stat}{kind}_file"] for kind in ("active", "inactive"))
        return max(0, int((self._memory / f"memory.{self._names.usage}").read_text()) - cache) / MB

    def peak_mb(self) -> float:
        """The most MiB ever charged, cache of files on disk included; what is in use now before Linux 5.19."""
        try:
            return int((self._memory / f"memory.{self._names.peak}").read_text()) / MB
        except FileNotFoundError:
            return self.memory_mb()

    def remove(self) -> None:
        """Remove it, ending what may still be in it; left for :func:`sweep` when the kernel is slow to end that."""
        self.close_procs()
        deadline = time.monotonic() + PATIENCE_S
        while not all([_rmdir(folder) for folder in self._folders]) and time.monotonic() < deadline:
            self._kill()
            time.sleep(0.001)

    def _make(self, memory_mb: int | None, processes: int) -> None:
        for folder in self._folders:
            folder.mkdir()
        if memory_mb is not None:
            self._limit_memory(memory_mb * MB)
        _write(self._pids / "pids.max", processes)
        # To move a whole process, the kernel first waits until none forks anywhere, some 10 ms; a thread moves at once.
        # In version 2 only groups without a memory limit of their own take single threads.
        join = "tasks" if self.version == 1 else "cgroup.procs"
        for folder in self._folders:
            self.procs.append(os.open(folder / join, os.O_WRONLY | os.O_CLOEXEC))

    def _limit_memory(self, limit: int) -> None:
        _write(self._memory / f"memory.{self._names.limit}", limit)
        with contextlib.suppress(FileNotFoundError):  # a kernel that does not account swap
            _write(self._memory / f"memory.{self._names.swap}", limit if self.version == 1 else 0)
        if self.version == 2:
            _write(self._memory / "memory.oom.group", 1)

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            _write(self._pids / "pids.max", 0)  # nothing more is forked
        for folder in self._folders:
            for pid in _processes(folder) - {0}:  # 0: it is in a PID namespace that we do not see
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def prepare() -> None:
    """Make room for workers' groups in cgroup v2, where this process's group is ours alone to divide.

    For looper itself, before it starts anything: this process and what it started move into a subgroup, so that
    their group, empty of processes, may hand its controllers down.
    """
    own = own_groups().get("")
    if own is None or own.name == OURS or obstacle(own):
        return
    with contextlib.suppress(OSError):  # create() finds out
        if not _is_root(own):
            (own / OURS).mkdir(exist_ok=True)
            for pid in _processes(own):
                _write(own / OURS / "cgroup.procs", pid)
        _write(own / "cgroup.subtree_control", "+memory +pids")


def obstacle(own: Path) -> str:
    """Why ``own``, a group of cgroup v2 that this process is in, cannot be divided; empty when it can."""
    missing = CONTROLLERS - _words(own / "cgroup.controllers")
    if missing:
        return f"cgroup v2 hands no {' and no '.join(sorted(missing))} controller down to {own}"
    if not all(os.access(own / name, os.W_OK) for name in ("", "cgroup.procs", "cgroup.subtree_control")):
        return f"{own} is not ours to write"
    strangers = _processes(own) - _own_processes()
    if strangers and not _is_root(own):
        return f"{own} also holds processes that looper did not start: {', '.join(map(str, sorted(strangers)))}"
    return ""


def available() -> Layer:
    """Whether workers get a group here, found out by making one; does what :func:`prepare` does."""
    prepare()
    group = Cgroup.create(1, 1)
    if group is not None:
        group.remove()
        return Layer(f"cgroup-v{group.version}", True)
    own = own_groups()
    if "memory" in own:
        why = f"{own['memory']} is not ours to divide"
        fix = "Start the system with cgroup v2 (systemd.unified_cgroup_hierarchy=1 on the kernel's command line)."
    else:
        why = obstacle(own[""]) if "" in own else "no cgroup v2 is mounted"
        start = f"systemd-run {'--user ' if os.geteuid() else ''}--scope -p Delegate=yes looper run ..."
        fix = f"Start looper with {start} (in a container: give it a cgroup v2 that it may write to)."
    return Layer("cgroup", False, f"Memory is enforced by looking every 20 ms; it may overshoot ({why}).", fix)


def sweep() -> None:
    """Remove empty groups whose creator is dead; every :meth:`Cgroup.create` does so too."""
    if parent := _parent():
        _sweep(parent)


def own_groups(proc: Path = Path("/proc/self")) -> dict[str, Path]:
    """The folders of the groups that a process is in, as far as its view shows them.

    Args:
        proc: the process's folder in /proc; see cgroups(7) and proc_pid_mountinfo(5) for the two files read.

    Returns:
        By controller of cgroup v1; under the empty name that of cgroup v2.
    """
    mounts = [line.split(" ") for line in (proc / "mountinfo").read_text().splitlines() if " - cgroup" in line]
    found = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            for _, _, _, root, point, *_, kind, _, options in mounts:
                shows = controller in options.split(",") if controller else kind == "cgroup2"
                if shows and Path(path).is_relative_to(root) and ".." not in Path(path).relative_to(root).parts:
                    found[controller] = Path(point, Path(path).relative_to(root))
    return found


def _parent() -> Parent | None:
    own = own_groups()
    if "" in own:
        group = own[""].parent if own[""].name == OURS else own[""]
        if _words(group / "cgroup.subtree_control") >= CONTROLLERS:
            return Parent(V2, group, group)
    return Parent(V1, own["memory"], own["pids"]) if own.keys() >= CONTROLLERS else None


def _sweep(parent: Parent) -> None:
    for folder in {parent.memory, parent.pids}:
        for name in os.listdir(folder):
            if is_abandoned(name):
                _rmdir(folder / name)


def _is_root(group: Path) -> bool:
    """Whether it is the machine's own group, the only one that may hold processes beside subgroups."""
    return not (group / "cgroup.type").exists()


def _own_processes() -> set[int]:
    """This process and all below it."""
    found, queue = set(), [os.getpid()]
    while queue:
        found.add(pid := queue.pop())
        queue += children_of(pid)
    return found


def _processes(group: Path) -> set[int]:
    return set(map(int, _words(group / "cgroup.procs")))


def _words(file: Path) -> set[str]:
    try:
        return set(file.read_text().split())
    except OSError:
        return set()


def _table(file: Path) -> dict[str, int]:
    return {name: int(value) for name, _, value in (line.partition(" ") for line in file.read_text().splitlines())}


def _write(file: Path, value: int | str) -> None:
    with open(file, "r+b", buffering=0) as f:
        f.write(str(value).encode())


def _rmdir(group: Path) -> bool:
    """Remove an empty group; False when processes are in it."""
    try:
        group.rmdir()
    except OSError as error:
        return error.errno != errno.EBUSY
    return True
