"""Reads the repository's history, with better candidates in it."""
# defence: not mounted; not granted by Landlock
# holds from: landlock


def attack(host):
    return host.read(f"{host.repository}/.git/HEAD")
