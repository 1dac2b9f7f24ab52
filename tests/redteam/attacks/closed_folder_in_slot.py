"""Leaves folders behind that nobody may enter or remove files from."""
# defence: not mounted; removed whatever their mode
# holds from: process
# ends: ok tampered

import os


def attack(host):
    for slot in (0, 1):
        try:
            os.makedirs(f"{host.slots}/{slot}/target/closed/inner/deep")
            os.chmod(f"{host.slots}/{slot}/target/closed/inner", 0)
            os.chmod(f"{host.slots}/{slot}/target/closed", 0)
        except OSError:
            continue
