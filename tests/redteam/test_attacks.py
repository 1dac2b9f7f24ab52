"""Every attack, for real, against every isolation backend that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from looper import sandbox
from tests.redteam import table
from tests.redteam.catalogue import Attack, attacks
from tests.redteam.suite import Suite, suite_of


@pytest.fixture(scope="module", params=list(sandbox.BACKENDS))
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    """One for all attacks of a backend: what the first of them does must not reach the last."""
    if fault := sandbox.probe(request.param).fault:
        pytest.skip(f"{request.param}: {fault}")
    with suite_of(request.param) as suite:
        yield suite


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
def test_attack(suite: Suite, attack: Attack) -> None:
    outcome = suite.outcome(attack)
    if attack.must_hold_at(suite.level):
        assert outcome.through == ()
    if not outcome.through and outcome.measurement is not None:
        # an attack that fails by its own mistake would show nothing
        assert outcome.status in attack.ends, (outcome.measurement.reason, outcome.measurement.log)


@pytest.mark.timeout(600)  # alone, it runs every attack
def test_the_table_tells_what_happens_here(suite: Suite) -> None:
    said = table.read()
    found = {
        attack.name: table.disagreement(
            attack, said[attack.name].get(suite.backend, table.NOT_RUN), suite.outcome(attack)
        )
        for attack in attacks()
    }
    assert {name: how for name, how in found.items() if how} == {}


def test_the_table_names_the_attacks_there_are() -> None:
    assert [tuple(row[:3]) for row in table.rows()[1:]] == [table.heads(attack) for attack in attacks()]
