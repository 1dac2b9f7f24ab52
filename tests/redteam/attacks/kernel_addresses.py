"""Reads where the kernel lies in memory, as attacks on it need to know."""
# defence: no capabilities
# holds from: landlock
# needs: CAP_SYSLOG


def attack(host):
    host.uncover_proc()
    first = host.read("/proc/kallsyms")[:16]
    return None if set(first) <= {"0"} else f"an address of the kernel: {first}"
