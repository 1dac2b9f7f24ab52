"""Asks for userfaultfd, with which attacks on the kernel win their races."""
# defence: seccomp
# holds from: landlock
# needs: userfaultfd

USER_MODE_ONLY = 1


def attack(host):
    return f"descriptor {host.syscall('userfaultfd', USER_MODE_ONLY)}"
