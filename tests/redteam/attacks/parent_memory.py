"""Reads the memory of the process above it through /proc."""
# defence: a user of its own, no capabilities, the process above is not dumpable
# holds from: landlock
# needs: root

import os


def attack(host):
    with open(f"/proc/{os.getppid()}/maps") as maps:
        first = next(line.split("-")[0] for line in maps if "rw-p" in line)
    with open(f"/proc/{os.getppid()}/mem", "rb", buffering=0) as memory:
        memory.seek(int(first, 16))
        return f"{len(memory.read(4096))} bytes of the process above it"
