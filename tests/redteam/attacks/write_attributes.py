"""Changes the mode and the times of a file of the host's that it owns."""
# defence: not mounted; seccomp at landlock level
# holds from: landlock
# needs: same user

import os


def attack(host):
    os.chmod(host.keep, 0o600)
    os.utime(host.keep, (0, 0))
    return "mode and times"
