"""Runs a program that belongs to root and runs as root."""
# defence: no new privileges; not mounted
# holds from: process

import os
import subprocess


def attack(host):
    if os.geteuid() == 0 or not host.setuid:
        return None
    return "root" if b"uid=0" in subprocess.run([host.setuid], capture_output=True).stdout else None
