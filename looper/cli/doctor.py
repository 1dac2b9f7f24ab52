"""``looper doctor``."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """What this machine offers to looper, and how to get what it lacks."""
    from rich.console import Console

    from looper import doctor as machine

    found = machine.checks()
    if as_json:
        click.echo(machine.to_json(found))
    else:
        machine.render(found, Console())
    sys.exit(any(check.state == "fails" for check in found))
