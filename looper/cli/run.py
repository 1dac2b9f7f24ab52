"""``looper run``."""

from __future__ import annotations

from typing import Any

import click

from looper.cli.isolating import isolation_options, wish_of
from looper.cli.targets import TargetCommand, manager_and_target
from looper.report.live import view_for
from looper.session import open_session
from looper.stop import Request


@click.command(cls=TargetCommand)
@click.argument("target")
@click.option("--experiments", type=click.IntRange(min=0), help="Stop after so many more experiments.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="Stop after so many hours.")
@click.option("--tag", help="Name of the session and its branch looper/TAG; default: the target's name.")
@click.option("--fresh", is_flag=True, help="Open a new session; the old ones stay as they are.")
@click.option("--resume", is_flag=True, help="Insist on resuming: an error when there is no such session.")
@click.option("--slots", type=click.IntRange(min=1), help="Experiments at once; default: one a GPU, or one a core.")
@click.option("--proposer", default="search", show_default=True, help="Who suggests the changes.")
@isolation_options
@click.pass_context
def run(
    ctx: click.Context,
    /,
    target: str,
    experiments: int | None,
    hours: float | None,
    tag: str | None,
    fresh: bool,
    resume: bool,
    slots: int | None,
    proposer: str,
    **isolation: Any,
) -> None:
    """Optimise TARGET, a folder or an installed target, until a stop rule or Ctrl-C.

    A session that exists is resumed. Ctrl-C once lets the running experiments finish, twice ends them; both
    leave a session that the same command goes on with.
    """
    if fresh and resume:
        raise click.UsageError("--fresh opens a new session and --resume insists on an old one: give one of them.")
    plugins, chosen, options = manager_and_target(ctx, target)
    request = Request(tag, fresh, resume, slots, experiments, hours, proposer, options, wish_of(isolation))
    view = view_for(chosen, request)
    session = open_session(plugins, chosen, request, view)
    view.opened(session)
    reason, told = "", len(session.notes)
    try:
        reason = session.run()
    finally:
        view.ended(session, reason)
        for note in session.notes[told:]:
            click.echo(f"looper: {note}", err=True)
