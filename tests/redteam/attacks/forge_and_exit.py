"""Writes a perfect result to every descriptor and exits at once with status 0."""
# defence: an exit is a crash; the result's pipe is not the worker's
# holds from: process
# ends: invalid crash

import os


def attack(host):
    for fd in range(1, 256):
        try:
            os.write(fd, b'{"loss": 0.0}\n')
        except OSError:
            continue
    os._exit(0)
