"""Ignores every signal that can be ignored, and never answers."""
# defence: SIGKILL from outside, the clock in another process
# holds from: process
# ends: timeout

import signal


def attack(host):
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass
