"""The attacks: small candidates in `attacks/`, one a file, each with a few lines that say what it is."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "attacks"
LEVELS = ("process", "landlock", "namespaces", "container")


class Attack(NamedTuple):
    """One attack, as its file describes it.

    Args:
        name: the file's name without its end.
        tries: one line, what it tries.
        source: the candidate.
        defence: what holds it back.
        holds_from: the weakest isolation level at which it must not succeed.
        ends: the statuses that its measurement may end with.
        runs: how often it is measured in a row: 2 where it tries to reach the next candidate.
        takes_s: the least wall seconds that its run must be measured with.
        needs: what the machine must have for it to succeed where nothing holds it back; empty for nothing.
        beside: the attack that runs in the other slot meanwhile.
        any_memory: whether it is measured without a limit of memory, so that other limits have to hold it.
        scenario: what else happens, in words; empty for nothing.
    """

    name: str
    tries: str
    source: str
    defence: str
    holds_from: str
    ends: tuple[str, ...] = ("ok",)
    runs: int = 1
    takes_s: float = 0.0
    needs: str = ""
    beside: str = ""
    any_memory: bool = False
    scenario: str = ""

    def must_hold_at(self, level: int) -> bool:
        """Whether an isolation level promises that the attack fails."""
        return level >= LEVELS.index(self.holds_from)


def attacks() -> list[Attack]:
    """All of them, by name."""
    return [attack_in(path) for path in sorted(FOLDER.glob("*.py"))]


def named(name: str) -> Attack:
    """The one of that name."""
    return attack_in(FOLDER / f"{name}.py")


def attack_in(path: Path) -> Attack:
    """The attack that a file holds.

    Raises:
        KeyError: when it does not say what it is.
    """
    source = path.read_text()
    said = dict(
        line[2:].split(": ", 1)
        for line in source.split("\n\n")[0].splitlines()
        if line.startswith("# ") and ": " in line
    )
    fields = {
        "defence": said.pop("defence"),
        "holds_from": said.pop("holds from"),
        "ends": tuple(said.pop("ends", "ok").split()),
        "runs": int(said.pop("runs", 1)),
        "takes_s": float(said.pop("takes", 0)),
        "needs": said.pop("needs", ""),
        "beside": said.pop("beside", ""),
        "any_memory": said.pop("budget", "") == "any memory",
        "scenario": said.pop("scenario", ""),
    }
    if said or fields["holds_from"] not in LEVELS:
        raise KeyError(f"{path.name}: {said or fields['holds_from']}")
    text = ast.get_docstring(ast.parse(source)) or ""
    return Attack(path.stem, text.splitlines()[0].removesuffix("."), source, **fields)  # type: ignore[arg-type]
