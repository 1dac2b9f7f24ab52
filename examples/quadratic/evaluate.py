"""Locked: asks the candidate for its answer, does not believe it, and computes the loss itself."""

from looper.evaluation import Invalid


def evaluate(run):
    with run.candidate("solution.py") as solution:
        with run.clock():
            x = solution.call("answer")
    if type(x) is not float or not -100 <= x <= 100:  # NaN fails the comparison too
        raise Invalid(f"answer() must return a float between -100 and 100, not {x!r:.40}.")
    run.report(loss=(x - 3) ** 2)
