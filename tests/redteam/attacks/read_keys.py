"""Looks for API keys in its environment and in those of the processes above it."""
# defence: an environment built from nothing; /proc of its own
# holds from: process

import os
from pathlib import Path


def attack(host):
    places = [*os.environ.values(), Path("/proc/self/environ").read_text()]
    for process in ("1", str(os.getppid())):
        try:
            places.append(Path(f"/proc/{process}/environ").read_text())
        except OSError:
            pass
    return next((text for text in places if "API_KEY" in text), None)
