"""Leaves bytecode of its own beside the files that the next evaluation imports."""
# defence: locked modules are read as source; read-only; folders made anew
# holds from: process
# ends: ok tampered
# runs: 2

import importlib.util
import marshal
import os

CODE = "def evaluate(run):\n    run.report(loss=0.0)\ndef attack(*args):\n    return {'reached': 'poisoned bytecode'}\n"


def attack(host):
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)  # never checked against the source
    data = header + marshal.dumps(compile(CODE, "poison", "exec"))
    for folder in (os.path.dirname(__file__), f"{host.slots}/0/target", f"{host.slots}/1/target"):
        for name in ("evaluate", "driver"):
            path = importlib.util.cache_from_source(f"{folder}/{name}.py")
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as f:
                    f.write(data)
            except OSError:
                continue
