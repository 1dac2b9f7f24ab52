"""Waits for the host's programs to connect to it."""
# defence: network namespace of its own; seccomp
# holds from: landlock

import socket


def attack(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(("127.0.0.1", host.tcp), timeout=5):
            return f"listens on {address}, in the network of the host"
