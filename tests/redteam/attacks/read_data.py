"""Reads the validation data."""
# defence: not mounted; not granted by Landlock
# holds from: landlock


def attack(host):
    return host.read(f"{host.data}/val.bin")
