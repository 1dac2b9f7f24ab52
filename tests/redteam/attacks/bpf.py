"""Loads a map for a BPF program into the kernel."""
# defence: seccomp, no capabilities
# holds from: landlock
# needs: root

import ctypes

MAP_CREATE, ARRAY = 0, 2


def attack(host):
    attributes = (ctypes.c_uint32 * 18)(ARRAY, 4, 4, 1)
    return f"descriptor {host.syscall('bpf', MAP_CREATE, ctypes.byref(attributes), 72)}"
