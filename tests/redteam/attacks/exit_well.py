"""Exits with status 0, so that whoever looks at that alone is content."""
# defence: an exit without an answer is a crash
# holds from: process
# ends: crash

import os


def attack(host):
    os._exit(0)
