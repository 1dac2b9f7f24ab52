"""Guesses the seed from the clock and from generators that were forked with it."""
# defence: looper draws the seed from the operating system, after the fork
# holds from: process

import random

import numpy as np


def attack(host):
    host.guess = random.getrandbits(63)


def answer():
    return int(np.random.default_rng(0).integers(0, 1 << 62))
