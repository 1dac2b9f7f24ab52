"""Opens files until it is refused."""
# defence: limit of descriptors
# holds from: process

import os

MORE = 2000


def attack(host):
    opened = []
    try:
        for _ in range(MORE):
            opened.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for fd in opened:
            os.close(fd)
    return f"{MORE} descriptors"
