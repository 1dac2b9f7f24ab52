"""Leaves stopped children behind, which no polite signal reaches."""
# defence: PID namespace, else subreaper and kill loop
# holds from: process

import os
import signal


def attack(host):
    for _ in range(3):
        host.child(lambda: os.kill(os.getpid(), signal.SIGSTOP))
