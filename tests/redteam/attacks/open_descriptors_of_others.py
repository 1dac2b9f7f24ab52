"""Opens the descriptors of the processes above it through /proc."""
# defence: a user of its own, no capabilities, /proc of its own
# holds from: landlock
# needs: root

import os


def attack(host):
    host.uncover_proc()

    def names(pid):
        found = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        return f"what process {pid} has open: {len(found)}"

    return host.first(lambda: names(os.getppid()), lambda: names(host.evaluator))
