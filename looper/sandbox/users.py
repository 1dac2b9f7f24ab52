"""A user of its own for each worker, where this process can become one."""

from __future__ import annotations

import os

#: First user and how many, the better range first: one that systemd and containers leave alone
#: (systemd.io/UIDS-GIDS: above 1879048191, below 2**31), and one that a container of 65536 users has too.
RANGES = ((1_900_000_000, 65_536), (50_000, 10_000))


def spare_user(number: int) -> int | None:
    """A user, and group, that nobody else is; another one for another ``number``.

    None for an ordinary user, and for one who is called root in a user namespace that holds nobody else.
    """
    if os.geteuid() != 0:
        return None
    maps = [_mapped("/proc/self/uid_map"), _mapped("/proc/self/gid_map")]
    for first, count in RANGES:
        if all(any(start <= first and first + count <= end for start, end in mapped) for mapped in maps):
            return first + number % count
    return None


def _mapped(path: str) -> list[tuple[int, int]]:
    """The users that exist in this user namespace, as ranges: first, and one after the last."""
    with open(path) as f:
        rows = [tuple(map(int, line.split())) for line in f]
    return [(inside, inside + count) for inside, _, count in rows]
