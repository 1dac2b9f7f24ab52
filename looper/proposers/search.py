"""Proposer ``search``: moves the constants that the editable files mark, a few at a time.

Each proposal changes one constant of the champion, sometimes two or three. Every constant is tried once
before any is tried again; after that, those whose changes were kept come up more often. Values come from
the tree-structured Parzen estimator of Optuna (Bergstra et al., "Algorithms for Hyper-Parameter
Optimization", NeurIPS 2011), fitted to each constant over every experiment so far.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from looper.errors import ProposerError
from looper.hookspecs import hookimpl
from looper.models import Context, Experiment, Proposal, Proposer, Target
from looper.proposers.constants import Constant, Domain, Range, find_constants, labels, set_constants

if TYPE_CHECKING:
    import optuna

NAME = "search"

#: How often one, two and three constants change at once.
WIDTHS = {1: 0.7, 2: 0.2, 3: 0.1}

#: Samples that may turn out to be known already, before what is left is gone through one by one.
SAMPLES = 20

#: Trials that the estimator keeps at least, so that a proposal costs no more after 10,000 experiments.
RECENT = 300

#: Verdicts that say something about the constants that were changed.
TELLING = ("keep", "discard", "crash", "timeout", "invalid")

Values = dict[str, str]  # key of a constant -> its literal, in the one spelling of its domain


@hookimpl
def looper_proposer(name: str, target: Target) -> Proposer | None:
    if name != NAME:
        return None
    if importlib.util.find_spec("optuna") is None:
        raise ProposerError("The proposer search needs Optuna: pip install 'looper-lab[search]'.")
    # The champion may have moved on since, but a file without marks is better named before a baseline is run.
    files = {path: target.root / path for path in target.editable}
    _marked({path: file.read_bytes().decode(errors="replace") for path, file in files.items() if file.is_file()})
    return Search()


class Search(Proposer):
    """Proposes values for marked constants; knows nothing that `Context` does not tell it.

    A proposal's meta holds ``values``, the literal of every marked constant by ``file:NAME``, and
    ``changes``, for each constant that it changes the old and the new literal.
    """

    name = NAME

    def __init__(self) -> None:
        self._lessons: _Lessons | None = None

    def propose(self, context: Context) -> Proposal | None:
        """New values for a few constants of the champion; None when every combination was tried.

        Raises:
            ProposerError: the champion marks no constant, or marks one in a way that cannot be followed.
        """
        constants = _marked(context.files)
        lessons = self._learn(context, constants)
        values = {key: constant.value for key, constant in constants.items()}
        running = {point for experiment in context.pending for point in lessons.points(experiment, values)}
        in_flight = {key for experiment in context.pending for key in _changes(experiment)}
        for new in _candidates(constants, lessons, in_flight, random.Random(_seed(context))):
            if new and (point := lessons.point(values | new)) not in lessons.seen and point not in running:
                return _proposal(context.files, constants, new)
        return None

    def reapply(self, proposal: Experiment, files: Mapping[str, str]) -> Mapping[str, str] | None:
        """The same constants set in another champion's ``files``, None when they are not there any more."""
        try:
            constants = find_constants(files)
        except ProposerError:
            return None
        new = {key: text for key, (_, text) in _changes(proposal).items()}
        return set_constants(files, constants, new) if new and new.keys() <= constants.keys() else None

    def _learn(self, context: Context, constants: Mapping[str, Constant]) -> _Lessons:
        """The lessons of the whole history; what was learnt at the last call is not learnt again."""
        domains = {key: constant.domain for key, constant in constants.items()}
        lessons = self._lessons
        if lessons is None or lessons.domains != domains or not lessons.begin(context.history):
            lessons = _Lessons(domains, context.target)
            # What a champion held that did not come from here is known from the proposals that changed it.
            for experiment in (*context.history, *context.pending):
                if experiment.attempt == 1 and (changes := _changes(experiment)):
                    old = {key: change[0] for key, change in changes.items()}
                    lessons.held[experiment.parent] = {**experiment.meta["values"], **old}
        lessons.held[context.champion.head] = {key: constant.value for key, constant in constants.items()}
        for experiment in context.history[len(lessons.learnt) :]:
            lessons.learn(experiment)
        self._lessons = lessons
        return lessons


class _Lessons:
    """What the decided experiments of a session say about the constants, learnt one at a time."""

    def __init__(self, domains: Mapping[str, Domain], target: Target) -> None:
        self.domains = dict(domains)
        self.metric = target.metric
        self.distributions = {key: _distribution(domain) for key, domain in domains.items()}
        self.learnt: list[Experiment] = []
        self.trials: list[tuple[Values, float | None]] = []  # a candidate's constants and its score
        self.study = self._new_study()
        self.in_study = range(0)  # which of the trials the study holds
        self.held: dict[str, Values] = {}  # commit of a champion -> its constants
        self.seen: set[tuple[str | None, ...]] = set()  # points that were proposed
        self.tries: Counter[str] = Counter()
        self.keeps: Counter[str] = Counter()

    def begin(self, history: Sequence[Experiment]) -> bool:
        """Whether ``history`` begins with what was learnt: a ledger only grows, so its ends tell."""
        ends = (0, len(self.learnt) - 1) if self.learnt else ()
        return len(history) >= len(self.learnt) and all(history[i] == self.learnt[i] for i in ends)

    def point(self, values: Mapping[str, str]) -> tuple[str | None, ...]:
        """The constants of today, in their order; None for one that was not marked then."""
        return tuple(values.get(key) for key in self.domains)

    def values_of(self, experiment: Experiment) -> Values | None:
        """Every constant of a candidate, or None when the candidate did not come from here."""
        if not (changes := _changes(experiment)):
            return self.held.get(experiment.head) if experiment.verdict == "keep" else None
        if experiment.attempt > 1 and (base := self.held.get(experiment.parent)):
            return base | {key: new for key, (_, new) in changes.items()}  # it was moved to that champion
        return dict(experiment.meta["values"])

    def points(self, experiment: Experiment, champion: Values) -> set[tuple[str | None, ...]]:
        """Where a candidate was proposed, and where it is or would be once it is moved to ``champion``."""
        new = {key: new for key, (_, new) in _changes(experiment).items()}
        return {self.point(champion | new), self.point(experiment.meta["values"] if new else champion)}

    def learn(self, experiment: Experiment) -> None:
        """Take in one more decided experiment."""
        self.learnt.append(experiment)
        if not (values := self.values_of(experiment)):
            return
        self.seen |= self.points(experiment, values)
        if experiment.verdict == "keep":
            self.held[experiment.head] = values
        if experiment.verdict in TELLING and experiment.status != "infra":
            self.tries.update(_changes(experiment).keys())
            if experiment.verdict == "keep":
                self.keeps.update(_changes(experiment).keys())
            self.trials.append((values, experiment.metrics.get(self.metric.name)))

    def _new_study(self) -> optuna.Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna.create_study(direction="minimize" if self.metric.direction == "min" else "maximize")

    def _tell_study(self) -> None:
        """Bring the study up to date; one that has grown to twice `RECENT` gives way to a new one."""
        first = max(0, len(self.trials) // RECENT - 1) * RECENT
        if first != self.in_study.start:
            self.study, self.in_study = self._new_study(), range(first, first)
        for values, score in self.trials[self.in_study.stop :]:
            self.study.add_trial(self._trial(values, score))
        self.in_study = range(first, len(self.trials))

    def _trial(self, values: Values, score: float | None) -> optuna.trial.FrozenTrial:
        from optuna.trial import TrialState, create_trial

        # A value outside its range (the range is where search looks, not where a champion must be) or of a
        # constant that was not marked then is left out; the other constants still learn from the trial.
        known = {key: domain for key, domain in self.domains.items() if key in values}
        inside = {key: domain for key, domain in known.items() if domain.holds(values[key])}
        return create_trial(
            # The estimator ignores failed trials, and would go back to a region that crashes for ever. A pruned
            # trial without intermediate values ranks below every completed one: bad, but not by any number.
            state=TrialState.PRUNED if score is None else TrialState.COMPLETE,
            value=score,
            params={key: _plain(domain, values[key]) for key, domain in inside.items()},
            distributions={key: self.distributions[key] for key in inside},
        )

    def sample(self, keys: Iterable[str], seed: int) -> Values:
        """A literal for each of ``keys``; may be the present one."""
        import optuna

        self._tell_study()
        self.study.sampler = optuna.samplers.TPESampler(
            # The first round over the constants is uniform: with next to nothing known, the estimator
            # would stay close to where it stands.
            n_startup_trials=len(self.domains) + 1,
            # Each constant by itself, so that a trial that lacks another one counts too; fitted together
            # they measured no better, since most proposals change one.
            multivariate=False,
            constant_liar=False,
            seed=seed,
        )
        trial = self.study.ask({key: self.distributions[key] for key in keys})
        # Its measurement is told later as a trial of its own: what is asked is not always what is run.
        self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return {key: self.domains[key].text(value) for key, value in trial.params.items()}


def _marked(files: Mapping[str, str]) -> dict[str, Constant]:
    if constants := find_constants(files):
        return constants
    raise ProposerError(
        f"The proposer search finds no marked constant in {', '.join(files) or 'the editable files'}. Mark one with"
        ' its range in a comment, such as "LR = 0.04  # learning rate; search: 0.005..0.2 log", "DEPTH = 2  #'
        " search: 1..6\" or \"ACT = 'relu2'  # search: {'relu2', 'gelu'}\", or choose another proposer:"
        " --proposer replay applies patches, and a plugin can bring its own."
    )


def _candidates(
    constants: Mapping[str, Constant], lessons: _Lessons, in_flight: set[str], rng: random.Random
) -> Iterator[Values]:
    """Changes to consider: samples first, then every change there is. Some may be known, or no change at all."""
    for _ in range(SAMPLES):
        chosen = _choose(constants, lessons, in_flight, rng)
        sampled = lessons.sample(chosen, seed=rng.randrange(2**32))
        yield {key: text for key, text in sampled.items() if text != constants[key].value}
    yield from _combinations(constants, chosen, rng)


def _choose(constants: Mapping[str, Constant], lessons: _Lessons, in_flight: set[str], rng: random.Random) -> list[str]:
    """The constants to change next, in the order of the files."""
    # Two experiments at once on one constant would undo one another when both are kept.
    free = [key for key in constants if key not in in_flight] or list(constants)
    if untried := [key for key in free if not lessons.tries[key]]:
        return untried[:1]
    width = min(rng.choices(list(WIDTHS), list(WIDTHS.values()))[0], len(free))
    chosen: list[str] = []
    while len(chosen) < width:
        rest = [key for key in free if key not in chosen]
        # Laplace's rule of succession: the chance that the next change of the constant is kept.
        weights = [(lessons.keeps[key] + 1) / (lessons.tries[key] + 2) for key in rest]
        chosen += rng.choices(rest, weights)
    return [key for key in constants if key in chosen]


def _combinations(constants: Mapping[str, Constant], first: Sequence[str], rng: random.Random) -> Iterator[Values]:
    """Everything that can be changed, one constant at a time before two, those of ``first`` before others."""
    values = {key: [text for text in each.domain.grid() if text != each.value] for key, each in constants.items()}
    others = [key for key in constants if key not in first]
    order = [*first, *rng.sample(others, len(others))]
    for width in range(1, len(order) + 1):
        for keys in itertools.combinations(order, width):
            for texts in itertools.product(*(rng.sample(values[key], len(values[key])) for key in keys)):
                yield dict(zip(keys, texts, strict=True))


def _proposal(files: Mapping[str, str], constants: Mapping[str, Constant], new: Values) -> Proposal:
    called = labels(constants)
    values = {key: constant.value for key, constant in constants.items()}
    return Proposal(
        files=set_constants(files, constants, new),
        hypothesis=", ".join(f"{called[key]} {constants[key].written} → {text}" for key, text in new.items()),
        meta={"values": values | new, "changes": {key: [values[key], text] for key, text in new.items()}},
    )


def _changes(experiment: Experiment) -> Mapping[str, Sequence[str]]:
    """Old and new literal by constant; empty when the experiment did not come from here."""
    changes = experiment.meta.get("changes", {}) if experiment.proposer == NAME else {}
    return changes if isinstance(changes, Mapping) else {}


def _seed(context: Context) -> int:
    """The same for the same session at the same experiment, so that a resumed session goes on alike."""
    session = (context.history[0] if context.history else context.champion).commit
    number = len(context.history) + len(context.pending)
    return int.from_bytes(hashlib.sha256(f"{session} {number}".encode()).digest()[:8])


def _distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(domain, Range):
        return CategoricalDistribution(domain.texts)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _plain(domain: Domain, text: str) -> Any:
    """A literal as the study knows it: numbers for a range, the text itself for a choice."""
    return (int(text) if domain.whole else float(text)) if isinstance(domain, Range) else text
