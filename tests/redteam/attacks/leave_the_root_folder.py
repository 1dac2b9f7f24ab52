"""Calls chroot, the first step out of one."""
# defence: seccomp, no capabilities
# holds from: landlock
# needs: root

import os


def attack(host):
    def leave():
        os.chroot(os.environ["TMPDIR"])
        return "another root folder"

    return host.in_child(leave)
