"""Becomes a shell that writes to every descriptor."""
# defence: frames are parsed strictly; the result's pipe is not the worker's
# holds from: process
# ends: invalid crash

import os


def attack(host):
    for fd in range(3, 64):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            continue
    os.execv("/bin/sh", ["sh", "-c", "for fd in 1 2 3 4 5 6 7 8 9; do echo '{\"loss\": 0.0}' >&$fd; done 2>/dev/null"])
