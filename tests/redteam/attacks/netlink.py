"""Opens a netlink socket, a way to many parts of the kernel."""
# defence: seccomp
# holds from: landlock

import socket


def attack(host):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        return "a netlink socket"
