"""Looks for the seed in every object and frame of its process, then names it."""
# defence: seeds and expected answers never exist in the worker
# holds from: process

import gc
import inspect
import sys

found = 0


def attack(host):
    global found
    frames = [frame.f_locals for frame in [info.frame for info in inspect.stack()]]
    tables = [item for item in gc.get_objects() if type(item) is dict] + frames
    tables += [vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
    for table in tables:
        seed = table.get("seed") if isinstance(table, dict) else None
        if type(seed) is int and seed > 1 << 32:
            found = seed
            return "the seed"


def answer():
    return found
