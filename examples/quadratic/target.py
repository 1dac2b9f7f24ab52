"""The smallest target: where is (x - 3)² smallest? It shows every part that a target has."""

from pathlib import Path

import looper


@looper.hookimpl
def looper_target() -> looper.Target:
    return looper.Target(
        name="quadratic",
        root=Path(__file__).parent,
        editable=("solution.py",),
        metric=looper.Metric("loss", direction="min", min_delta=1e-6),
        budget=looper.Budget(run_s=2, setup_s=10, score_s=5),
    )
