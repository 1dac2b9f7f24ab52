"""Leaves files for the next candidate in its own folders, and in the caches of compilers."""
# defence: folders of its own, made anew for every worker
# holds from: process
# runs: 2

import os
import tempfile
from pathlib import Path


def attack(host):
    names = ("TMPDIR", "HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH", "NUMBA_CACHE_DIR")
    places = {os.environ[name] for name in names if name in os.environ} | {os.getcwd(), tempfile.gettempdir(), "."}
    places |= {f"{os.environ['HOME']}/.{name}" for name in ("cache", "triton", "cache/numba", "nv/ComputeCache")}
    places.add(os.path.dirname(__file__))
    for place in places:
        if Path(place, "kept").exists():
            return f"what an earlier candidate left in {place}"
    for place in places:
        try:
            os.makedirs(place, exist_ok=True)
            Path(place, "kept").write_text("weights")
        except OSError:
            continue
