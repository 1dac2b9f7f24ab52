"""The options that say what isolates candidates; ``run`` and ``check`` have the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from looper.isolation import AUTO, CHOICES, LEVELS, Wish

Command = TypeVar("Command", bound=Callable[..., Any])


def isolation_options(command: Command) -> Command:
    """Add them; their values are for :func:`wish_of`."""
    unsafe = click.option(
        "--unsafe-no-sandbox", is_flag=True, help="No isolation: candidates reach your files and the network."
    )
    least = click.option(
        "--min-level",
        type=click.Choice(LEVELS),
        default="namespaces",
        show_default=True,
        help="Refuse to run with less isolation than this.",
    )
    name = click.option(
        "--sandbox", type=click.Choice(CHOICES), default=AUTO, show_default=True, help="What isolates candidates."
    )
    return name(least(unsafe(command)))


def wish_of(values: dict[str, Any]) -> Wish:
    """What the values of the options ask for.

    Raises:
        UsageError: when a sandbox is asked for, and none.
    """
    if values["unsafe_no_sandbox"] and values["sandbox"] != AUTO:
        raise click.UsageError(
            f"--unsafe-no-sandbox runs without the sandbox that --sandbox {values['sandbox']} asks for."
        )
    return Wish(values["sandbox"], values["min_level"], values["unsafe_no_sandbox"])
