"""Looks for the seed in the evaluator's memory, then names it."""
# defence: PID namespace and /proc of its own, no capabilities
# holds from: landlock
# needs: root

import re

found = 0


def attack(host):
    global found
    host.uncover_proc()
    with open(f"/proc/{host.evaluator}/maps") as maps:
        areas = [line.split()[0].split("-") for line in maps if "rw-p" in line]
    with open(f"/proc/{host.evaluator}/mem", "rb", buffering=0) as memory:
        for first, last in areas:
            memory.seek(int(first, 16))
            try:
                seen = re.search(rb'"seed": (\d{6,})', memory.read(int(last, 16) - int(first, 16)) or b"")
            except OSError:
                continue
            if seen:
                found = int(seen[1])
                return "the seed"


def answer():
    return found
