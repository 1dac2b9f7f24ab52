"""Makes every clock of its process stand still, then takes its time."""
# defence: the clock that counts is the evaluator's
# holds from: process
# takes: 0.3

import ctypes
import time


def attack(host):
    def still():
        return 0.0

    time.time = time.monotonic = time.perf_counter = time.process_time = still
    time.time_ns = time.monotonic_ns = time.perf_counter_ns = lambda: 0
    ctypes.CDLL(None).usleep(300_000)
