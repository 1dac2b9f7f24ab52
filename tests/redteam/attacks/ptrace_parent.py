"""Attaches a debugger to the process above it."""
# defence: seccomp; the process above is not dumpable
# holds from: landlock
# needs: root

import os

PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def attack(host):
    def trace():
        host.call("ptrace", PTRACE_ATTACH, os.getppid(), 0, 0)
        os.waitpid(os.getppid(), 0x40000000)
        host.call("ptrace", PTRACE_DETACH, os.getppid(), 0, 0)
        return "it may trace the process above it"

    return trace()
