"""Connects one of a pair of Unix sockets anew, to a socket of the host's."""
# defence: seccomp allows streams alone; network namespace of its own
# holds from: landlock

import socket


def attack(host):
    def send(address):
        ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.sendto(b"hello", address)
        return "a socket of the host's"

    return host.first(lambda: send(f"\0{host.datagrams}"), lambda: send(host.datagram_file))
