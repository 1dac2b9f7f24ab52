"""Opens a performance counter, a channel to watch neighbours through."""
# defence: seccomp, no capabilities
# holds from: landlock
# needs: root

import ctypes


def attack(host):
    attributes = (ctypes.c_uint64 * 16)(1 | 128 << 32, 0)  # PERF_TYPE_SOFTWARE, this size, PERF_COUNT_SW_CPU_CLOCK
    return f"descriptor {host.syscall('perf_event_open', ctypes.byref(attributes), 0, -1, -1, 0)}"
