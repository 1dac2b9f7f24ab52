"""Goes up from any folder that it was given a descriptor of."""
# defence: every descriptor is closed at spawn; Landlock
# holds from: process

import os
import stat


def attack(host):
    for fd in range(3, 1024):
        try:
            kind = os.fstat(fd).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(kind):
            return f"a folder: {os.listdir(fd)}"
        name = os.readlink(f"/proc/self/fd/{fd}")
        if stat.S_ISREG(kind) and host.mark not in name and not name.startswith("/memfd:"):  # the inputs: change_inputs
            return f"a file: {name}"
