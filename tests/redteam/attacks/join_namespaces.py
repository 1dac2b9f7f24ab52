"""Joins the namespaces of the host."""
# defence: seccomp, no capabilities, /proc of its own
# holds from: landlock
# needs: root

import os


def attack(host):
    def join():
        host.uncover_proc()
        with open(f"/proc/{host.evaluator}/ns/mnt") as there:
            host.call("setns", there.fileno(), 0)
        return f"the host's files: {len(os.listdir('/'))}"

    return host.in_child(join)
