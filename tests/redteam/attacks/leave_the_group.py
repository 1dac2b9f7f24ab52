"""Makes a control group, to move out of its own."""
# defence: /sys/fs/cgroup is not there; no capabilities
# holds from: landlock
# needs: root

import os


def attack(host):
    def make(parent):
        os.mkdir(f"{parent}/{host.mark}")
        os.rmdir(f"{parent}/{host.mark}")
        return "a control group"

    places = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup")
    return host.first(*(lambda place=place: make(place) for place in places))
