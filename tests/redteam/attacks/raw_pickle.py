"""Sends a pickle in place of a frame."""
# defence: frames are parsed strictly
# holds from: process
# ends: invalid crash

import os
import pickle

from looper.evaluation import wire, worker


class Command:
    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return os.system, (self.text,)


def attack(host):
    bomb = pickle.dumps(Command(f"echo loaded > {host.keep}"))
    worker._channel.sendall(wire.PREFIX.pack(len(bomb), 0) + bomb)
