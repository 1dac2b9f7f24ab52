"""Connects to an abstract socket of the host's, which is no file."""
# defence: network namespace of its own; seccomp at landlock level
# holds from: landlock

import socket


def attack(host):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"\0{host.abstract}")
        sock.sendall(b"hello")
        return "the abstract socket"
