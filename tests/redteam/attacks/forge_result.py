"""Writes a perfect result to every descriptor there is."""
# defence: the result's pipe is held by looper and the evaluator alone
# holds from: process
# ends: invalid crash

import os

RESULT = b"""
{"event": "result", "status": "ok", "reason": "", "metrics": {"loss": 0.0}, "starved": false, "timings": {}}
"""


def attack(host):
    for fd in range(256):
        try:
            os.set_blocking(fd, False)
            os.write(fd, RESULT)
        except OSError:
            continue
