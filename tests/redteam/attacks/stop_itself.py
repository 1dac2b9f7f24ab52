"""Stops itself, so that nobody gets an answer."""
# defence: SIGKILL from outside, the clock in another process
# holds from: process
# ends: timeout

import os
import signal


def attack(host):
    os.kill(os.getpid(), signal.SIGSTOP)
