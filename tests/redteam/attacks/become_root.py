"""Takes another user's number."""
# defence: no capabilities
# holds from: landlock
# needs: root

import os


def attack(host):
    def become():
        os.setresuid(1234, 1234, 1234) if os.geteuid() == 0 else os.setresuid(0, 0, 0)
        return "another user's number"

    return host.in_child(become)
