"""Leaves a message queue for the next candidate."""
# defence: a limit of no message queue; IPC namespace of its own
# holds from: process
# runs: 2

import os


def attack(host):
    name = host.mark.encode()

    def there():
        host.syscall("mq_open", name, os.O_RDWR, 0, None)
        return "the queue of an earlier candidate"

    return host.first(there, lambda: host.syscall("mq_open", name, os.O_RDWR | os.O_CREAT, 0o666, None) and None)
