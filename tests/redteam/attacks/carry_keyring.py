"""Leaves a key in the kernel's keyring for the next candidate."""
# defence: seccomp
# holds from: landlock
# needs: root
# runs: 2

USER_KEYRING, SET_TIMEOUT = -4, 15


def attack(host):
    name = host.mark.encode()

    def there():
        return f"key {host.syscall('request_key', b'user', name, None, 0)} of an earlier candidate"

    def leave():
        key = host.syscall("add_key", b"user", name, b"weights", 7, USER_KEYRING)
        host.syscall("keyctl", SET_TIMEOUT, key, 5)

    return host.first(there, leave)
