"""Leaves a process behind that changes its number all the time."""
# defence: PID namespace, else subreaper and kill loop
# holds from: process

import os
import time


def attack(host):
    host.orphan(hop)


def hop():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
