"""Sends an answer with the same key twice, for two readers to read differently."""
# defence: strict parser
# holds from: process
# ends: invalid

from looper.evaluation import wire, worker


def attack(host):
    frame = b'{"d":{"value":1,"value":0}}'
    worker._channel.sendall(wire.PREFIX.pack(len(frame), 0) + frame)
