"""Spreads over all cores of the machine, its neighbour's too, and stays there for whoever comes next."""
# defence: bound to its slot's cores again for every worker; CPU time is counted on all
# holds from: process
# runs: 2

import os


def attack(host):
    if host.cores > 1 and len(os.sched_getaffinity(0)) > 1:
        return "cores that an earlier candidate took"
    os.sched_setaffinity(0, range(host.cores))
