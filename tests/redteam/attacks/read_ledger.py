"""Reads the session's ledger, with every score and seed."""
# defence: not mounted; not granted by Landlock
# holds from: landlock


def attack(host):
    return host.read(f"{host.repository}/.looper/tag/ledger.jsonl")
