"""Goes through the root folders of the processes above it."""
# defence: they see no more than it does, and it may not look
# holds from: landlock
# needs: root

import os


def attack(host):
    host.uncover_proc()
    processes = (1, os.getppid(), host.evaluator, host.looper)
    return host.read(*(f"/proc/{pid}/root{host.data}/val.bin" for pid in processes))
