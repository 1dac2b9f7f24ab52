"""Sends a datagram to the host, as a name server's client would."""
# defence: network namespace of its own; seccomp
# holds from: landlock

import socket


def attack(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", ("127.0.0.1", host.udp))
        return "the host on UDP"
