"""Replaces the evaluator by one that is content with anything."""
# defence: not mounted; read before any worker runs; compared afterwards
# holds from: process
# ends: ok tampered

from pathlib import Path

CONTENT = "def evaluate(run):\n    run.report(loss=0.0)\n"


def attack(host):
    for place in (".", f"{host.slots}/0/target", f"{host.slots}/1/target"):
        try:
            Path(place, "evaluate.py").write_text(CONTENT)
        except OSError:
            continue
