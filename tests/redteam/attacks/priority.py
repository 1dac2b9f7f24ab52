"""Takes a higher priority than its neighbours, and a real-time one."""
# defence: no capabilities
# holds from: landlock
# needs: root

import os


def attack(host):
    def real_time():
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return "a real-time priority"

    def nice():
        os.setpriority(os.PRIO_PROCESS, 0, -5)
        return "a higher priority"

    return host.first(lambda: host.in_child(real_time), lambda: host.in_child(nice))
