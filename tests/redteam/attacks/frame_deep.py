"""Sends values nested deeper than a parser's stack."""
# defence: bounded depth
# holds from: process
# ends: invalid

from looper.evaluation import wire, worker


def attack(host):
    frame = b"[" * 500_000
    worker._channel.sendall(wire.PREFIX.pack(len(frame), 0) + frame)
