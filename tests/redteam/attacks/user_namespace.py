"""Takes a user namespace of its own, in which it would have every capability."""
# defence: seccomp
# holds from: landlock

CLONE_NEWUSER = 0x10000000


def attack(host):
    def unshare():
        host.call("unshare", CLONE_NEWUSER)
        return "a user namespace"

    return host.in_child(unshare)
