"""Replaces the locked driver's functions, in the process that it shares with it."""
# defence: what the driver says is a claim like any other
# holds from: process

import inspect


def attack(host):
    frame = inspect.currentframe().f_back
    frame.f_globals["answer"] = lambda candidate: 1 << 62
    frame.f_globals["attack"] = lambda *args: {"refused": ""}
