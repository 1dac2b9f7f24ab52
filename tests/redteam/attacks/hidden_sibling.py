"""Makes a process that is not below it, to hide it from whoever counts."""
# defence: seccomp; whoever counts looks below init
# holds from: landlock

import os

CLONE_PARENT, SIGCHLD = 0x8000, 17


def attack(host):
    pid = host.syscall("clone", CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        try:
            host.wait()
        finally:
            os._exit(0)
    return "a process beside it"
