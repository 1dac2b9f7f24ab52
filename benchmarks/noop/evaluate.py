"""Locked: reports a constant, with or without having asked the candidate."""


def evaluate(run):
    if run.settings["worker"]:
        with run.candidate("solution.py") as solution, run.clock():
            solution.call("answer")
    run.report(loss=1.0)
