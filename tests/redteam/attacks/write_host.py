"""Overwrites a file of the host's that everyone may write, and leaves one beside it."""
# defence: not mounted; not granted by Landlock
# holds from: landlock

from pathlib import Path


def attack(host):
    def write(path):
        Path(path).write_text("written")
        return path

    return host.first(lambda: write(host.keep), lambda: write(f"{host.drop}/new"))
