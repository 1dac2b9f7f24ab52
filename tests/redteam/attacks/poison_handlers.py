"""Leaves handlers for the exit, the fork, the collector and the signals of whoever comes next."""
# defence: a worker is a fork; nothing comes back from it
# holds from: process
# runs: 2

import atexit
import gc
import os
import signal
import sys


def attack(host):
    if gc.callbacks or signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL or sys.gettrace() or sys.getprofile():
        return "a handler of an earlier candidate"

    def handle(*args):
        os._exit(0)

    atexit.register(handle)
    os.register_at_fork(before=handle, after_in_child=handle, after_in_parent=handle)
    signal.signal(signal.SIGUSR1, handle)
    gc.callbacks.append(lambda *args: None)
    sys.setprofile(lambda *args: None)
