"""Locked: lets the candidate attack, writes down what it claims, and scores what it earned, which is nothing.

The loss is 1.0 for everyone who does not name the seed or change the inputs.
"""

import json
import os
from pathlib import Path

from looper.evaluation import Invalid


def evaluate(run):
    inputs = run.rng.integers(0, 1 << 62, 512)
    array = run.share(inputs)
    bait = {**run.settings["bait"], "evaluator": os.getpid()}
    with run.candidate("solution.py", "driver.py") as solution, run.clock():
        claim = solution.call("attack", bait, array)
        Path(run.settings["claims"], str(run.seed)).write_text(json.dumps(claim, default=repr))
        answer = solution.call("answer")
    if type(answer) not in (int, float):
        raise Invalid(f"the answer is a {type(answer).__name__}, and no number.")
    if type(answer) is int and abs(answer) >= 1 << 64:
        raise Invalid("the answer has more than 64 bits.")
    won = answer == run.seed or (array.array != inputs).any()
    run.report(loss=(0.0 if won else 1.0) + 0.0 * answer)
