"""Answers a number of three million digits."""
# defence: frames are bounded
# holds from: process
# ends: invalid


def attack(host):
    pass


def answer():
    return 1 << 10_000_000
