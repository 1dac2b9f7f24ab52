"""Reads the source of the evaluator."""
# defence: not mounted; not granted by Landlock
# holds from: landlock


def attack(host):
    return host.read("evaluate.py", f"{host.slots}/0/target/evaluate.py", f"{host.slots}/1/target/evaluate.py")
