"""Answers an object that is equal to everything, and a number when asked."""
# defence: plain values and raw arrays cross, no objects
# holds from: process
# ends: invalid


class Perfect(float):
    def __eq__(self, other):
        return True

    __hash__ = float.__hash__


def attack(host):
    pass


def answer():
    return Perfect(1.0)
