"""Leaves children behind that ignore every signal that can be ignored."""
# defence: PID namespace, else subreaper and kill loop
# holds from: process

import signal


def attack(host):
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)
    for _ in range(2):
        host.child(host.wait)
