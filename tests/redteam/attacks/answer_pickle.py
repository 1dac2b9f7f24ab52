"""Sends a pickle whose loading writes to the host."""
# defence: nothing that arrives is ever unpickled
# holds from: process
# ends: invalid

import os
import pickle


class Command:
    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return os.system, (self.text,)


def attack(host):
    global bomb
    bomb = pickle.dumps(Command(f"echo loaded > {host.keep}"))


def answer():
    return bomb
