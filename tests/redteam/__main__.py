"""Runs every attack against every backend of this machine and writes the table of docs/security.md anew.

What the table says of backends that this machine does not have stays as it is. Run it as root, and where nothing
keeps root from anything: the table shows the worst that can happen.
"""

from __future__ import annotations

from looper import sandbox
from tests.redteam import table
from tests.redteam.catalogue import attacks
from tests.redteam.suite import suite_of


def main() -> None:
    known = table.read()
    cells = {attack.name: known.get(attack.name, {}) for attack in attacks()}
    for backend in sandbox.available():
        with suite_of(backend) as suite:
            for attack in attacks():
                outcome = suite.outcome(attack)
                cells[attack.name][backend] = table.cell(attack, outcome, suite.level)
                if outcome.through:
                    print(f"{backend}: {attack.name}: {'; '.join(outcome.through)[:200]}")
    table.write(attacks(), cells)


if __name__ == "__main__":
    main()
