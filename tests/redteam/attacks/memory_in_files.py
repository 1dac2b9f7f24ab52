"""Takes more memory than the budget allows, as files in memory that no process maps."""
# defence: seccomp, where the target shares no memory; control group
# holds from: namespaces
# ends: ok oom crash

import os

MB = 1 << 20


def attack(host):
    fds = [os.memfd_create(f"hog{n}") for n in range(6)]
    for fd in fds:
        os.write(fd, b"x" * (100 * MB))
    return f"{len(fds) * 100} MiB"
