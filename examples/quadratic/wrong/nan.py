"""Wrong: every comparison with NaN is false, so a careless evaluator takes it for the best loss."""


def answer():
    return float("nan")
