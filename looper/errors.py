"""Errors meant for people: what is wrong and what to do next, shown without a traceback."""

from __future__ import annotations


class LooperError(Exception):
    """Something the user can mend. The command line prints the message and exits with status 2.

    Write the message so that it names the object at fault and the next step.
    """


class TargetError(LooperError):
    """A target cannot be found, loaded or used as it is."""


class SessionError(LooperError):
    """A session cannot be opened, resumed or continued as asked."""


class LedgerError(SessionError):
    """The record of a session cannot be read or written."""


class WorkspaceError(LooperError):
    """git refused, or the repository is not in the state the session left it in."""


class ProposerError(LooperError):
    """A proposer cannot work with this target or these options."""
