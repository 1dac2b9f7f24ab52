"""Names that tell whose a thing is, so that what dead processes left behind can be found and removed."""

from __future__ import annotations

import itertools
import os
import re

CREATOR = re.compile(r"looper-(\d+)-(\d+)-(\d+)-\d+")  # PID namespace, process number, its start time; a count

_count = itertools.count()


def signed_name() -> str:
    """A new name for something that is of no use when this process is dead; see :func:`is_abandoned`."""
    return f"looper-{_namespace()}-{os.getpid()}-{_started(os.getpid())}-{next(_count)}"


def is_abandoned(name: str) -> bool:
    """Whether it is the :func:`signed_name` of a process that is dead."""
    found = CREATOR.fullmatch(name)
    return found is not None and not _may_live(*map(int, found.groups()))


def _may_live(namespace: int, pid: int, started: int) -> bool:
    # Nothing is known of processes in other PID namespaces.
    return namespace != _namespace() or started == _started(pid)


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _started(pid: int) -> int:
    """Start time of a process, in ticks since the machine's start: field 22 of proc_pid_stat(5); 0 when dead."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
