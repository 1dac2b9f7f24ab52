"""Reads every packet of the host's network."""
# defence: network namespace of its own, no capabilities; seccomp
# holds from: landlock
# needs: root

import socket


def attack(host):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0):
        return "a packet socket"
