"""Replaces every generator, comparison and writer of numbers in its process."""
# defence: the score is worked out in another process
# holds from: process

import json
import math
import random
import struct

import numpy as np


def attack(host):
    def nothing(*args, **kwargs):
        return 0.0

    random.random = random.getrandbits = np.random.default_rng = nothing
    np.allclose = np.array_equal = np.mean = math.isfinite = math.isclose = nothing
    json.JSONEncoder.default = struct.calcsize = nothing
