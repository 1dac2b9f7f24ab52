"""Prints more than a log can hold."""
# defence: drained all the time, 64 KiB kept
# holds from: process

import os


def attack(host):
    for _ in range(200):
        os.write(1, b"y" * (1 << 20))
