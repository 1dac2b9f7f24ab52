"""Opens the kernel's log, the memory and the disks, and makes a device node."""
# defence: no device nodes but null, zero, full and random; no capabilities
# holds from: landlock
# needs: root

import os
import stat


def attack(host):
    def look(path):
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        return path

    def make():
        path = f"{os.environ['TMPDIR']}/disk"
        os.mknod(path, stat.S_IFBLK | 0o600, os.stat("/").st_dev)
        return look(path)

    names = ("kmsg", "mem", "port", "fuse", "kvm", "vda", "sda", "nvme0n1", "loop-control", "net/tun")
    return host.first(make, *(lambda name=name: look(f"/dev/{name}") for name in names))
