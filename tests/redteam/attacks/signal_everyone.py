"""Stops the process that watches over it, and everyone else it can reach by number."""
# defence: PID namespace; a user of its own; Landlock scopes signals
# holds from: landlock
# ends: ok crash

import os
import signal


def attack(host):
    def stop(pid):
        os.kill(pid, signal.SIGSTOP)

    host.uncover_proc()
    if os.getppid() > 1:
        host.first(lambda: os.kill(os.getppid(), 0))
        return "the process above it may be signalled"
    host.first(lambda: stop(host.victim))
