"""Opens the kernel's switches for writing, core_pattern first."""
# defence: another user than root, no capabilities; not granted by Landlock
# holds from: landlock
# needs: root


def attack(host):
    host.uncover_proc()
    names = ("sys/kernel/core_pattern", "sys/kernel/modprobe", "sysrq-trigger", "sys/vm/overcommit_memory")
    return host.open_to_write(*(f"/proc/{name}" for name in names), "/sys/kernel/uevent_helper")
