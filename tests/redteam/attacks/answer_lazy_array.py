"""Answers an array of a class of its own that works out its values when they are compared."""
# defence: raw bytes of the declared kind and shape cross, no objects
# holds from: process
# ends: invalid

import numpy as np


class Lazy(np.ndarray):
    def __eq__(self, other):
        return True

    def __float__(self):
        return 0.0


def attack(host):
    pass


def answer():
    return np.zeros(1).view(Lazy)
