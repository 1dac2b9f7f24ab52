"""Leaves folders behind that are nested deeper than a program's stack."""
# defence: memory of its own, gone as a whole; removed step by step elsewhere
# holds from: process

import os


def attack(host):
    os.chdir(os.environ["TMPDIR"])
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
