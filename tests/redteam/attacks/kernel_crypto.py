"""Opens a socket of a rare family, whose code few have looked at."""
# defence: seccomp
# holds from: landlock
# needs: alg

import socket


def attack(host):
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET):
        return "an AF_ALG socket"
