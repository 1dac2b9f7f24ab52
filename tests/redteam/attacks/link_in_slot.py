"""Puts a link to a file of the host's where looper will write the next candidate."""
# defence: not mounted; files are replaced, never written through
# holds from: process
# ends: ok tampered

import os


def attack(host):
    for slot in (0, 1):
        for name in ("solution.py", "driver.py"):
            try:
                os.unlink(f"{host.slots}/{slot}/target/{name}")
                os.symlink(host.keep, f"{host.slots}/{slot}/target/{name}")
            except OSError:
                continue
