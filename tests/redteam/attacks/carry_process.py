"""Leaves a process that waits for the next candidate at an abstract socket."""
# defence: every process ends with its evaluation; network namespace
# holds from: process
# runs: 2

import socket


def attack(host):
    def there():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"\0{host.mark}")
            return "the process of an earlier candidate"

    def wait():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(f"\0{host.mark}")
            sock.listen()
            host.wait()

    return host.first(there, lambda: host.orphan(wait))
