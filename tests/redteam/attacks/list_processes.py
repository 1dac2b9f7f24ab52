"""Reads the command lines of the host's processes."""
# defence: PID namespace and /proc of its own; Landlock grants no /proc but its own
# holds from: landlock
# needs: root

from pathlib import Path


def attack(host):
    host.uncover_proc()
    line = Path(f"/proc/{host.victim}/cmdline").read_bytes().decode()
    return line if "secret" in line else None
