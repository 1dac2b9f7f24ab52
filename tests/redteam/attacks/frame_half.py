"""Begins a message and never ends it."""
# defence: the clock runs while it is waited for
# holds from: process
# ends: timeout

from looper.evaluation import worker


def attack(host):
    worker._channel.sendall(b"\0\0")
    host.wait()
