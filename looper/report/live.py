"""What the user watches: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from looper.models import Target
from looper.report.plain import PlainView
from looper.report.terminal import is_interactive, output
from looper.stop import Request

if TYPE_CHECKING:
    from looper.report.screen import ScreenView


def view_for(target: Target, request: Request) -> PlainView | ScreenView:
    """The view for this process's standard output; ``request`` tells it what was asked for."""
    if not is_interactive(output()):
        return PlainView(target, request)
    from looper.report.screen import ScreenView  # only a terminal needs what this imports

    return ScreenView(target, request)
