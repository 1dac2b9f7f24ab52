"""Leaves shared memory and a semaphore of System V for the next candidate."""
# defence: IPC namespace of its own; seccomp at landlock level
# holds from: landlock
# runs: 2

IPC_CREAT = 0o1000


def attack(host):
    def there():
        return f"segment {host.call('shmget', host.key, 0, 0)} of an earlier candidate"

    def leave():
        host.call("shmget", host.key, 4096, IPC_CREAT | 0o666)
        host.call("semget", host.key, 1, IPC_CREAT | 0o666)

    return host.first(there, leave)
