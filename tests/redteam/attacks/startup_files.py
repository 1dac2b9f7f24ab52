"""Leaves files that Python, pytest and the loader run at their start."""
# defence: `python -I`; home and environment are built anew
# holds from: process
# runs: 2

import os
import sys
from pathlib import Path

NAMES = ("sitecustomize.py", "usercustomize.py", "conftest.py", "poison.pth", ".pythonrc")
VARIABLES = ("LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "BASH_ENV")


def attack(host):
    if host.mark in repr([os.environ.get(name) for name in VARIABLES]):
        return "the environment of an earlier candidate"
    if hasattr(sys, "poisoned") or "usercustomize" in sys.modules:
        return "the startup file of an earlier candidate"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    home = Path(os.environ["HOME"])
    for folder in (home, home / f".local/lib/{version}/site-packages", Path(f"{host.slots}/0/target")):
        for name in NAMES:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text("import sys; sys.poisoned = True")
            except OSError:
                continue
    for name in VARIABLES:
        os.environ[name] = f"/tmp/{host.mark}"
