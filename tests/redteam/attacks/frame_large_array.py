"""Announces an array of an exabyte, in a message of a few bytes."""
# defence: sizes are bounded before memory is taken
# holds from: process
# ends: invalid

from looper.evaluation import wire, worker


def attack(host):
    frame = b'{"d":{"value":{"a":["float64",[1099511627776,1099511627776]]}}}'
    worker._channel.sendall(wire.PREFIX.pack(len(frame), 8) + frame + bytes(8))
