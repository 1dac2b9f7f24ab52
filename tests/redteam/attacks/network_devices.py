"""Lists and changes the network devices of the host."""
# defence: network namespace of its own; seccomp
# holds from: landlock

import socket


def attack(host):
    names = [name for _, name in socket.if_nameindex()]
    return None if names in ([], ["lo"]) else f"devices {names}"
