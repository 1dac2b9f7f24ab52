"""Connects to a server of the host's on TCP, and to one of a slot's neighbours on IPv6."""
# defence: network namespace of its own; seccomp
# holds from: landlock

import socket


def attack(host):
    def say(family, address):
        with socket.socket(family) as sock:
            sock.settimeout(5)
            sock.connect((address, host.tcp))
            sock.sendall(b"hello")
            return f"{address} on TCP"

    return host.first(lambda: say(socket.AF_INET, "127.0.0.1"), lambda: say(socket.AF_INET6, "::1"))
