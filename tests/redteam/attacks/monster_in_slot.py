"""Makes a locked file a terabyte large, without any data in it."""
# defence: not mounted; size is compared before anything is read
# holds from: process
# ends: ok tampered

import os


def attack(host):
    for slot in (0, 1):
        try:
            os.truncate(f"{host.slots}/{slot}/target/driver.py", 4 << 30)
        except OSError:
            continue
