"""Reads a key in the user's home folder."""
# defence: not mounted; not granted by Landlock
# holds from: landlock


def attack(host):
    return host.read(f"{host.home}/.ssh/id")
