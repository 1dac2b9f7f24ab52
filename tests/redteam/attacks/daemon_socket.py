"""Connects to the socket of a daemon that runs containers for whoever asks."""
# defence: not mounted; seccomp at landlock level
# holds from: landlock

import socket


def attack(host):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(host.daemon)
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return "the daemon"
