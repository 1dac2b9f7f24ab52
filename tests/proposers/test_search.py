from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from looper.errors import ProposerError
from looper.models import Budget, Context, Direction, Experiment, Metric, Proposal, Target, Verdict
from looper.proposers import search
from looper.proposers.constants import find_constants
from looper.proposers.search import Search

TEN = "".join(f"C{i} = 0.9  # search: 0.0..1.0\n" for i in range(10))
BEST = [0.1 + 0.08 * i for i in range(10)]

Score = Callable[[dict[str, object]], float | None]


def target(root: Path = Path("."), direction: Direction = "min") -> Target:
    return Target("tuned", root, ("train.py",), Metric("loss", direction), Budget(1))


def run_module(text: str) -> dict[str, object]:
    module: dict[str, object] = {}
    exec(text, module)
    return {name: value for name, value in module.items() if name.isupper() or name[:1] == "C"}


class Session:
    """A session without processes: the loop's order of proposing, judging and re-applying, on a formula.

    Args:
        source: text of the one editable file.
        score: the metric of a module's constants; None for a crash.
        slots: experiments in flight.
        restart: make a new proposer before every proposal, as a resumed session does.
    """

    def __init__(
        self, source: str, score: Score, slots: int = 1, restart: bool = False, direction: Direction = "min"
    ) -> None:
        self.target, self.score, self.slots, self.restart = target(direction=direction), score, slots, restart
        self.files = {"train.py": source}
        self.proposer = Search()
        first = Experiment(0, 1, "base", "base", "t0", "baseline", "baseline", {})
        self.champion = self.decided(first, source, "keep")
        self.history = [self.champion]
        self.pending: list[tuple[Experiment, Proposal]] = []
        self.texts = {"base": source}  # by commit

    def context(self) -> Context:
        pending = tuple(experiment for experiment, _ in self.pending)
        return Context(self.target, self.files, self.champion, self.history, pending)

    def run(self, experiments: int) -> Session:
        for _ in range(experiments):
            if self.restart:
                self.proposer = Search()
            proposal = self.proposer.propose(self.context())
            if proposal is None:
                break
            n = len(self.history) + len(self.pending)
            name, parent = self.proposer.name, self.champion.head
            proposed = Experiment(n, 1, parent, f"c{n}", f"t{n}", name, proposal.hypothesis, proposal.meta)
            self.pending.append((proposed, proposal))
            if len(self.pending) == self.slots:
                self.decide()
        while self.pending:
            self.decide()
        return self

    def decide(self) -> None:
        experiment, proposal = self.pending.pop(0)
        files = {**self.files, **proposal.files}
        if experiment.parent != self.champion.head:
            moved = self.proposer.reapply(experiment, self.files)
            assert moved is not None
            files = {**self.files, **moved}
            experiment = dataclasses.replace(experiment, attempt=2, parent=self.champion.head)
        text = files["train.py"]
        self.texts[experiment.commit] = text
        decided = self.decided(experiment, text, "discard")
        if decided.metrics:
            gain = self.target.metric.gain(decided.metrics["loss"], self.champion.metrics["loss"])
            if gain > 0:
                decided = self.champion = self.decided(experiment, text, "keep")
                self.files = files
        self.history.append(decided)

    def decided(self, experiment: Experiment, text: str, verdict: Verdict) -> Experiment:
        loss = self.score(run_module(text))
        if loss is None:
            return dataclasses.replace(experiment, status="crash", verdict="crash", head=self.champion.head)
        head = experiment.commit if verdict == "keep" else self.champion.head
        return dataclasses.replace(experiment, metrics={"loss": loss}, status="ok", verdict=verdict, head=head)

    @property
    def changes(self) -> list[list[str]]:
        return [list(experiment.meta["changes"]) for experiment in self.history[1:]]

    @property
    def hypotheses(self) -> list[str]:
        return [experiment.hypothesis for experiment in self.history]


def bowl(constants: dict[str, object]) -> float:
    return sum((float(str(constants[f"C{i}"])) - best) ** 2 for i, best in enumerate(BEST))


def noise(constants: dict[str, object]) -> float:
    return random.Random(repr(constants)).random()


def without_memory(history: Sequence[Experiment], source: str) -> str:
    champion = history[0]
    proposal = Search().propose(Context(target(), {"train.py": source}, champion, history))
    assert proposal is not None
    return proposal.hypothesis


def test_a_proposal_sets_the_constant_and_says_so_in_words():
    source = "import math\nLR = 4e-2  # learning rate; search: 0.005..0.2 log\n"
    session = Session(source, lambda constants: 1.0)
    proposal = session.proposer.propose(session.context())
    assert proposal is not None
    new = proposal.meta["values"]["train.py:LR"]
    assert proposal.hypothesis == f"LR 4e-2 → {new}"
    assert proposal.files == {"train.py": source.replace("4e-2", new)}
    assert proposal.meta["changes"] == {"train.py:LR": ["0.04", new]}


@pytest.mark.parametrize("slots", [1, 3])
def test_every_constant_is_tried_once_before_any_is_tried_again(slots: int):
    session = Session(TEN, bowl, slots).run(40)
    assert sorted(session.changes[:10]) == [[f"train.py:C{i}"] for i in range(10)]
    widths = Counter(len(changed) for changed in session.changes)
    assert set(widths) <= {1, 2, 3}
    assert widths[1] > 20


@pytest.mark.parametrize("slots", [1, 3])
def test_no_set_of_values_is_proposed_twice(slots: int):
    source = "A = 1  # search: 1..4\nB = 'x'  # search: {'x', 'y'}\nC = 0.5  # search: 0.0..1.0\n"
    session = Session(source, noise, slots).run(60)
    assert len(session.history) == 61
    proposed = [tuple(experiment.meta["values"].values()) for experiment in session.history[1:]]
    assert len(set(proposed) | {("1", "'x'", "0.5")}) == 61


def test_a_finite_space_is_gone_through_and_then_there_is_nothing_left():
    source = "A = 1  # search: 1..3\nB = True  # search: {True, False}\nC = 'x'  # search: {'x', 'y'}\n"
    session = Session(source, noise).run(100)
    assert len(session.history) == 12
    assert session.proposer.propose(session.context()) is None


def test_nothing_is_left_while_the_last_values_are_still_being_measured():
    session = Session("A = 1  # search: 1..3\n", lambda constants: 1.0).run(1)
    last = session.proposer.propose(session.context())
    assert last is not None
    running = Experiment(2, 1, "base", "c2", "t2", "search", last.hypothesis, last.meta)
    context = dataclasses.replace(session.context(), pending=(running,))
    assert session.proposer.propose(context) is None


@pytest.mark.parametrize("slots", [1, 3])
def test_a_resumed_session_proposes_what_an_uninterrupted_one_does(slots: int):
    straight = Session(TEN, bowl, slots).run(30)
    resumed = Session(TEN, bowl, slots, restart=True).run(30)
    assert straight.champion.n > 0
    assert any(experiment.attempt > 1 for experiment in straight.history) == (slots > 1)
    assert resumed.hypotheses == straight.hypotheses


def test_what_is_remembered_of_a_long_session_is_what_reading_it_again_gives():
    source = "A = 0.5  # search: 0.0..1.0\nB = 4  # search: 1..1000 log\n"
    base = Session(source, lambda constants: 1.0).champion
    values = {key: constant.value for key, constant in find_constants({"train.py": source}).items()}
    rng, history = random.Random(7), [base]
    for n in range(1, 2 * search.RECENT + 60):
        new = f"{n / 1000}"
        meta = {"values": {**values, "train.py:A": new}, "changes": {"train.py:A": ["0.5", new]}}
        history.append(
            Experiment(
                n, 1, "base", f"c{n}", "t", "search", "", meta,
                metrics={"loss": rng.random()}, status="ok", verdict="discard", head="base",
            )
        )  # fmt: skip
    remembers = Search()
    for length in (1, 40, search.RECENT + 5, 2 * search.RECENT - 1, 2 * search.RECENT + 9, len(history)):
        part = history[:length]
        proposal = remembers.propose(Context(target(), {"train.py": source}, base, part))
        assert proposal is not None
        assert proposal.hypothesis == without_memory(part, source)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_it_beats_random_search(direction: Direction):
    sign = 1 if direction == "min" else -1
    session = Session(TEN, lambda constants: sign * bowl(constants), 3, direction=direction).run(60)
    rng = random.Random(0)
    drawn = [{f"C{i}": rng.random() for i in range(10)} for _ in range(60)]
    assert sign * session.champion.metrics["loss"] < 0.3 * min(map(bowl, drawn))


def test_a_region_that_crashes_is_left_alone():
    source = "A = 0.2  # search: 0.0..1.0\nB = 0.9  # search: 0.0..1.0\n"

    def score(constants: dict[str, object]) -> float | None:
        a, b = float(str(constants["A"])), float(str(constants["B"]))
        return None if a > 0.4 else 1 + (a - 0.3) ** 2 + (b - 0.5) ** 2

    session = Session(source, score).run(60)
    crashes = [experiment.verdict == "crash" for experiment in session.history]
    assert sum(crashes) >= 2
    assert sum(crashes[30:]) <= 6


def test_constants_that_are_in_flight_are_not_changed_again():
    session = Session(TEN, bowl).run(15)
    proposal = session.proposer.propose(session.context())
    assert proposal is not None
    meta = {**proposal.meta, "changes": {f"train.py:C{i}": ["0.9", "0.1"] for i in range(9)}}
    running = Experiment(16, 1, session.champion.head, "c16", "t16", "search", "", meta)
    proposal = session.proposer.propose(dataclasses.replace(session.context(), pending=(running,)))
    assert proposal is not None
    assert list(proposal.meta["changes"]) == ["train.py:C9"]


def test_an_experiment_that_says_nothing_about_its_constant_is_no_try():
    session = Session(TEN, bowl).run(1)
    broken = dataclasses.replace(session.history[1], metrics={}, status="infra", verdict="crash")
    stale = dataclasses.replace(session.history[1], metrics={}, status="ok", verdict="stale")
    for experiment in (broken, stale):
        context = dataclasses.replace(session.context(), history=[session.history[0], experiment])
        proposal = Search().propose(context)
        assert proposal is not None
        assert list(proposal.meta["changes"]) == ["train.py:C0"]
        assert proposal.hypothesis != session.hypotheses[1]


def test_a_value_outside_its_range_is_where_a_search_may_start():
    source = "A = 50  # search: 1..8\nB = 'old'  # search: {'x', 'y'}\nC = 0.0  # search: 0.1..1.0 log\n"
    session = Session(source, lambda constants: float(str(constants["A"])) + float(str(constants["C"]))).run(30)
    final = run_module(session.files["train.py"])
    assert final["A"] == 1
    assert final["C"] == 0.0


def test_marks_that_another_proposer_changed_are_followed():
    source = "A = 1  # search: 1..4\nB = 'x'  # search: {'x', 'y'}\nC = 1  # search: 1..9\n"
    session = Session(source, noise).run(6)
    text = "C = 'x'  # search: {'x', 'z'}\nA = 9  # search: 9..20\nB = 2  # search: 1..9\nNEW = 0.5  # search: 0..1\n"
    kept = Experiment(
        7, 1, session.champion.head, "c7", "t7", "llm", "rewritten", {},
        metrics={"loss": -1.0}, status="ok", verdict="keep", gain=1.0, head="c7",
    )  # fmt: skip
    session.champion, session.files = kept, {"train.py": text}
    session.history.append(kept)
    session.run(20)
    assert len(session.history) == 28
    tried = {key for experiment in session.history[8:] for key in experiment.meta["changes"]}
    assert tried == {"train.py:A", "train.py:B", "train.py:C", "train.py:NEW"}


def test_reapplying_sets_the_same_constants_in_another_champion():
    session = Session("A = 1  # search: 1..4\n", noise).run(1)
    experiment = session.history[1]
    new = experiment.meta["changes"]["train.py:A"][1]
    other = "import math\nB = 2  # search: 1..3\nA: int = 0  # moved; search: 0..9\n"
    moved = session.proposer.reapply(experiment, {"train.py": other})
    assert moved == {"train.py": other.replace("int = 0", f"int = {new}")}
    assert session.proposer.reapply(experiment, {"train.py": "B = 2  # search: 1..3\n"}) is None
    assert session.proposer.reapply(experiment, {"train.py": "A = 2  # search: 1-3\n"}) is None
    assert session.proposer.reapply(session.history[0], {"train.py": other}) is None


def test_files_without_marks_get_the_way_to_mark_them(tmp_path: Path):
    (tmp_path / "train.py").write_text("LR = 0.04\n")
    with pytest.raises(ProposerError, match=r"no marked constant in train\.py.* search: .*--proposer replay"):
        search.looper_proposer("search", target(tmp_path))
    (tmp_path / "train.py").write_text("LR = 0.04  # search: 0.01..0.1 log\n")
    assert isinstance(search.looper_proposer("search", target(tmp_path)), Search)
    assert search.looper_proposer("other", target(tmp_path)) is None
