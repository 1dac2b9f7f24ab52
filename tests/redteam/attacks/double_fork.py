"""Leaves daemons behind: sessions of their own, without a parent."""
# defence: PID namespace, else subreaper and kill loop
# holds from: process


def attack(host):
    for _ in range(3):
        host.orphan(host.wait)
