"""Raises an error that raises, exits and never ends when somebody wants to read it."""
# defence: the worker describes its errors, and its end is a crash
# holds from: process
# ends: crash

import os


class Trap(BaseException):
    def __str__(self):
        os._exit(0)


def attack(host):
    raise Trap
