"""Forks until it is refused."""
# defence: limit of processes, by the kernel and by who watches
# budget: any memory
# holds from: process
# ends: ok crash oom

MORE = 1500  # than any worker may have, and no danger to the machine


def attack(host):
    for _ in range(MORE):
        host.child(host.wait)
    return f"{MORE} processes"
