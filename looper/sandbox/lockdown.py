"""The last steps of a worker before it runs code that nobody trusts. None of them can be undone."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from typing import Any

from looper.sandbox import landlock, linux, seccomp
from looper.sandbox.protocol import Level
from looper.sandbox.view import DEVICES

#: At landlock level: what programs ask of /proc, which otherwise shows the host's processes.
PROC = (
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/filesystems",
    "/proc/devices",
    "/proc/driver",
    "/proc/modules",
    "/proc/sys/vm",
)
#: CUDA names its threads there, and takes a refusal for a fault of the system (CUDA_ERROR_OPERATING_SYSTEM).
THREADS = "/proc/self/task"


def lock_down(spec: Mapping[str, Any], level: Level, work: str, target: str) -> list[str]:
    """Limits, user, rights, files, system calls. Returns the layers that are on.

    Args:
        spec: the order; see :class:`looper.sandbox.protocol.Spec`.
        level: how much to hold back.
        work, target: the folders of this worker.

    Raises:
        OSError: when the system refuses any of it.
    """
    layers = ["rlimits", "no-new-privileges"]
    if spec["cores"]:
        os.sched_setaffinity(0, spec["cores"])
    uid = spec["uid"]
    limit(spec["limits"], count_processes=uid is not None or level >= Level.NAMESPACES)
    if uid is not None or os.geteuid() != 0 or level >= Level.LANDLOCK:
        linux.bound_capabilities()
        if uid is not None:
            linux.become(uid)
            layers.append("own-user")
        linux.drop_capabilities()
        layers.append("no-capabilities")
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)  # a change of user clears it, and /proc/self would belong to root
    os.chdir(work)
    if level >= Level.LANDLOCK:
        layers += restrict(spec, level, work, target)
    return layers


def restrict(spec: Mapping[str, Any], level: Level, work: str, target: str) -> list[str]:
    """The second net: files by Landlock, system calls by seccomp."""
    own = level >= Level.NAMESPACES
    readable = ["/"] if own else [*spec["shown"], *PROC, target]
    writable = [work, "/tmp", "/dev/shm"] if own else [work]
    if spec["devices"]:
        writable.append("/proc" if own else THREADS)  # its own /proc has no process but the worker's
    seccomp_needs = {"own_files": own, "memfds": spec["memfds"], "cuda": bool(spec["devices"])}
    if own and not landlock.abi():  # a kernel without it; the namespaces hold by themselves
        seccomp.install(**seccomp_needs)
        return ["seccomp"]
    landlock.restrict(readable, writable, [*DEVICES, *spec["devices"]], () if own else spec["hidden"])
    seccomp.install(**seccomp_needs)
    return [f"landlock-{landlock.abi()}", "seccomp"]


def limit(limits: Mapping[str, Any], count_processes: bool) -> None:
    """Resource limits, those of looper's own process at most.

    Processes and threads are counted by user: only where the worker is a user of its own, or in a user namespace of
    its own, does the limit count the worker's alone.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits["file_mb"] << 20,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if count_processes:
        wanted[resource.RLIMIT_NPROC] = limits["processes"]
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))
