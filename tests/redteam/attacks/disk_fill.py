"""Fills the disk."""
# defence: sized tmpfs
# budget: any memory
# holds from: namespaces
# ends: ok oom crash

import os

GB = 1 << 30


def attack(host):
    for n in range(5):
        with open(f"{os.environ['TMPDIR']}/filler{n}", "wb") as f:
            os.posix_fallocate(f.fileno(), 0, GB)
    return "5 GiB"
