"""Sets up io_uring, whose requests pass by a filter of system calls."""
# defence: seccomp
# holds from: landlock
# needs: io_uring

import ctypes


def attack(host):
    return f"descriptor {host.syscall('io_uring_setup', 4, ctypes.byref((ctypes.c_uint32 * 30)()))}"
