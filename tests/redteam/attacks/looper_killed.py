"""Spreads daemons, then looper itself is killed with SIGKILL."""
# defence: every process ends when the one above it does
# holds from: process
# scenario: looper is killed


def attack(host):
    for _ in range(3):
        host.orphan(host.wait)
    host.wait()
