"""Reads the candidate that runs in the other slot."""
# defence: not mounted; not granted by Landlock
# holds from: landlock
# beside: neighbour

from pathlib import Path


def attack(host):
    def other(slot):
        text = host.read(f"{host.slots}/{slot}/target/solution.py")
        return text if text != Path(__file__).read_text() else None

    return host.first(lambda: other(0), lambda: other(1))
