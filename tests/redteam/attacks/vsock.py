"""Opens a socket to the machine that this virtual machine runs on."""
# defence: seccomp; network namespaces do not hold it back
# holds from: landlock
# needs: vsock

import socket


def attack(host):
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM):
        return "a vsock socket"
