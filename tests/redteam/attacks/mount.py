"""Takes a mount namespace of its own, to make read-only places writable."""
# defence: seccomp, no capabilities
# holds from: landlock
# needs: root

CLONE_NEWNS = 0x20000


def attack(host):
    def unshare():
        host.call("unshare", CLONE_NEWNS)
        return "a mount namespace"

    return host.in_child(unshare)
