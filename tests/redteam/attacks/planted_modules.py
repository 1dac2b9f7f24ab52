"""Leaves modules with the names of the library's where the next evaluation might look first."""
# defence: `python -I`; the library comes first; folders made anew
# holds from: process
# runs: 2

import json
import os
import struct
from pathlib import Path

import numpy

CODE = "raise SystemExit('planted')"


def attack(host):
    for module in (json, struct, numpy):
        if os.path.dirname(module.__file__) in (os.getcwd(), os.path.dirname(__file__)):
            return f"the planted {module.__name__}"
    for folder in (".", os.environ["HOME"], os.path.dirname(__file__), f"{host.slots}/0/target", "/tmp"):
        for name in ("json", "struct", "numpy", "looper"):
            try:
                Path(folder, f"{name}.py").write_text(CODE)
            except OSError:
                continue
    for name in ("json", "struct", "numpy", "looper"):
        Path("/tmp", f"{name}.py").unlink(missing_ok=True)
