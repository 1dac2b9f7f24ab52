"""Sends an array in a memory file that does not exist, with descriptors of its own beside it."""
# defence: no descriptor is taken from a worker
# holds from: process
# ends: invalid

import os
import socket

from looper.evaluation import wire, worker


def attack(host):
    frame = b'{"d":{"value":{"m":["float64",[1]]}}}'
    fds = [os.open("/dev/zero", os.O_RDWR)] * 100
    socket.send_fds(worker._channel, [wire.PREFIX.pack(len(frame), 0) + frame], fds)
