"""Announces a message of 4 GiB."""
# defence: sizes are bounded before memory is taken
# holds from: process
# ends: invalid

from looper.evaluation import worker


def attack(host):
    worker._channel.sendall(b"\xff" * 12)
