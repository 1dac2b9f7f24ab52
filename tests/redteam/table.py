"""The table of docs/security.md: attack, defence, outcome on each backend. Made by ``python -m tests.redteam``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from looper import sandbox
from tests.redteam.catalogue import Attack
from tests.redteam.suite import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN = "<!-- the table begins: `python -m tests.redteam` writes it -->"
END = "<!-- the table ends -->"
THROUGH, NOT_RUN = "**gets through**", "not run"

#: Of each attack, by name: its outcome in words, by backend.
Cells = Mapping[str, Mapping[str, str]]


def cell(attack: Attack, outcome: Outcome, level: int) -> str:
    """An outcome in words; in brackets where the backend's level does not promise it."""
    if outcome.through:
        return THROUGH
    words = in_words(outcome)
    return words if attack.must_hold_at(level) else f"({words})"


def in_words(outcome: Outcome) -> str:
    if outcome.status != "ok":
        return outcome.status or "ended"
    return "no effect" if outcome.refusal == "found nothing" else "refused"


def disagreement(attack: Attack, said: str, outcome: Outcome) -> str:
    """How an outcome differs from what the table says; empty when it does not, or when the table says nothing.

    What no level promises may be held back here and not there, and an attack may need what a machine lacks.
    """
    if said == THROUGH:
        held = not outcome.through and not attack.needs
        return "it was held back, and gets through in the table" if held else ""
    promised = said != NOT_RUN and not said.startswith("(")
    return f"it got through: {outcome.through}" if promised and outcome.through else ""


def heads(attack: Attack) -> tuple[str, str, str]:
    """The first cells of an attack's row."""
    return f"`{attack.name}`: {attack.tries}", attack.defence, attack.holds_from


def rendered(attacks: Sequence[Attack], cells: Cells) -> str:
    """The whole table, with its markers."""
    names = list(sandbox.BACKENDS)
    head = ["attack", "what holds it back", "holds from", *(f"`{name}`" for name in names)]
    rows = [[*heads(attack), *(cells[attack.name].get(name, NOT_RUN) for name in names)] for attack in attacks]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([BEGIN, "", *lines, "", END])


def rows() -> list[list[str]]:
    """The rows of the page's table, its head first."""
    lines = _parts(PAGE.read_text())[1].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and "---" not in line]


def read() -> dict[str, dict[str, str]]:
    """The outcomes that the page tells, by attack and backend."""
    head, *rest = rows()
    names = [name.strip("`") for name in head[3:]]
    return {row[0].split("`")[1]: dict(zip(names, row[3:], strict=True)) for row in rest}


def write(attacks: Sequence[Attack], cells: Cells) -> None:
    """Put the table into the page."""
    before, _, after = _parts(PAGE.read_text())
    PAGE.write_text(before + rendered(attacks, cells) + after)


def _parts(page: str) -> tuple[str, str, str]:
    before, _, rest = page.partition(BEGIN)
    table, _, after = rest.partition(END)
    return before, table, after
