"""Fills /dev/shm."""
# defence: sized tmpfs; Landlock grants none
# holds from: landlock
# ends: ok oom crash

import os

MB = 1 << 20


def attack(host):
    path = f"/dev/shm/{host.mark}"
    with open(path, "wb") as f:
        for _ in range(16):
            f.write(b"x" * (100 * MB))
    os.unlink(path)
    return "1600 MiB"
