"""Looks for the seed in its own memory, which was forked from looper's processes, then names it."""
# defence: workers are forked from an image that never knew the job
# holds from: process

import re

found = 0


def attack(host):
    global found
    with open("/proc/self/maps") as maps:
        areas = [line.split()[0].split("-") for line in maps if " rw" in line]
    pattern = re.compile(b'"see' + rb'd": ?(\d{6,})')
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for first, last in areas:
            try:
                memory.seek(int(first, 16))
                seen = pattern.search(memory.read(int(last, 16) - int(first, 16)))
            except (OSError, OverflowError):
                continue
            if seen:
                found = int(seen[1])
                return "the seed"


def answer():
    return found
