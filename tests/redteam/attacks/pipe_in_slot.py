"""Puts a named pipe where looper will read a file, so that it waits for ever."""
# defence: not mounted; opened without waiting, plain files alone
# holds from: process
# ends: ok tampered

import os


def attack(host):
    for slot in (0, 1):
        try:
            os.unlink(f"{host.slots}/{slot}/target/evaluate.py")
            os.mkfifo(f"{host.slots}/{slot}/target/evaluate.py")
        except OSError:
            continue
