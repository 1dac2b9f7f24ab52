"""A target whose proposals, and the moments at which their evaluations end, are written down by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.projects import Project

TARGET = '''\
"""|a| + |b| should be small. Proposal n is MOVES[n - 1]."""

from pathlib import Path

import looper
from looper.models import Budget, Metric, Proposal, Proposer, Target

MOVES = []
ENDED = Path("ENDED")


@looper.hookimpl
def looper_target():
    return Target(
        name="bowl",
        root=Path(__file__).parent,
        editable=("point.txt",),
        metric=Metric("loss", min_delta=0.5),
        budget=Budget(run_s=20),
        settings={"ended": str(ENDED)},
    )


@looper.hookimpl
def looper_proposer(name):
    return Script() if name == "steps" else None


@looper.hookimpl
def looper_experiment(experiment):
    (ENDED / str(experiment.n)).touch()


class Script(Proposer):
    name = "steps"

    def propose(self, context):
        n = max(e.n for e in (*context.history, *context.pending))
        if n >= len(MOVES):
            return None
        return Proposal(**proposal(MOVES[n], context.files))


def proposal(move, files):
    if "error" in move:
        raise ValueError(move["error"])
    if "files" in move:
        return {"hypothesis": "as written", **move}
    return {"files": {"point.txt": moved(move, files["point.txt"])}, "hypothesis": str(move), "meta": {"move": move}}


def moved(move, text):
    lines = text.splitlines(keepends=True)
    new = {line.partition("=")[0]: line for line in lines} | {key: f"{key}={value}\\n" for key, value in move.items()}
    return "".join(new[line.partition("=")[0]] if "=" in line else line for line in lines)
'''

EVALUATE = """\
import time
from pathlib import Path


def evaluate(run):
    lines = (run.root / "point.txt").read_text().splitlines()
    point = dict(line.split("=") for line in lines if "=" in line)
    while point["after"] and not (Path(run.settings["ended"]) / point["after"]).exists():
        time.sleep(0.002)
    if point["a"] == "fault":
        raise RuntimeError("the scale is out of order")
    run.report(loss=abs(float(point["a"])) + abs(float(point["b"])))
"""

#: Far enough apart for changes of different lines to be merged. ``after``: number of the experiment whose verdict
#: an evaluation waits for.
POINT = "a=10\n.\n.\n.\nafter=\n.\n.\n.\nb=10\n"

REAPPLY = """
    def reapply(self, proposal, files):
        return {"point.txt": moved(proposal.meta["move"], files["point.txt"])}
"""


class Scripted(Project):
    """The scripted target in a repository of its own.

    Args:
        folder: where to put it all; empty.
        moves: for each proposal the lines of ``point.txt`` that it changes; or ``files`` and other fields of
            a ``Proposal``; or ``error``, with which the proposer fails.
        in_git: False for a target that is in no repository.
        reapply: whether the proposer puts its changes on another champion itself.
    """

    def __init__(
        self, folder: Path, moves: Sequence[Mapping[str, Any]] = (), in_git: bool = True, reapply: bool = False
    ) -> None:
        super().__init__(folder, in_git)
        for old in ("solution.py", "fine.py"):
            (self.target / old).unlink()
        ended = folder / "ended"
        ended.mkdir()
        target = TARGET.replace("MOVES = []", f"MOVES = {list(moves)!r}").replace('"ENDED"', repr(str(ended)))
        if reapply:
            target = target.replace("\n\ndef proposal", f"{REAPPLY}\n\ndef proposal")
        self.write("target.py", target)
        self.write("evaluate.py", EVALUATE)
        self.write("point.txt", POINT)
        if in_git:
            self.commit("A scripted bowl")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace ``old``, which is there once, in a file of the target."""
        text = (self.target / path).read_text()
        assert text.count(old) == 1, f"{old!r} is not once in {path}"
        (self.target / path).write_text(text.replace(old, new))

    def verdicts(self) -> list[tuple[int, int, str | None]]:
        """(number, attempt, verdict) of every experiment, the baseline left out, by number."""
        history = sorted(self.record().history, key=lambda experiment: experiment.n)
        return [(each.n, each.attempt, each.verdict) for each in history[1:]]

    def point(self) -> str:
        """The champion's file."""
        return self.git("show", "looper/bowl:bowl/point.txt")
