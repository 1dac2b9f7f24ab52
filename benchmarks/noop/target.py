"""A target that costs nothing, to see what looper itself costs; it brings a proposer that costs nothing too."""

from pathlib import Path

import looper


@looper.hookimpl
def looper_options() -> list[looper.Option]:
    return [looper.Option("worker", True, "Whether the evaluator asks a worker, or only reports.")]


@looper.hookimpl
def looper_target(options) -> looper.Target:
    return looper.Target(
        name="noop",
        root=Path(__file__).parent,
        editable=("solution.py",),
        metric=looper.Metric("loss"),
        budget=looper.Budget(run_s=5),
        settings={"worker": options["worker"]},
    )


class Counting(looper.Proposer):
    """Proposes the same file with another number in it, for ever."""

    name = "counting"

    def propose(self, context):
        n = len(context.history) + len(context.pending)
        return looper.Proposal({"solution.py": f"def answer():\n    return {n}\n"}, f"answer {n}")


@looper.hookimpl
def looper_proposer(name):
    return Counting() if name == "counting" else None
