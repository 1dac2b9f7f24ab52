"""Why an evaluation has no metric. Each cause is a type; ``status`` is what the measurement records."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

#: How Python says that it found no module, or no file, of that name.
NOT_FOUND = re.compile(r"(No module named|No such file or directory:) '([^']+)'")


class Failure(Exception):
    """Ends the evaluation. ``log`` is untrusted text that explains it further, such as a traceback."""

    status = "crash"

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.log = log


class Crash(Failure):
    """The candidate raised, exited or was ended by a signal."""


class OutOfMemory(Failure):
    """The candidate, or what it forked, used more memory than there is or than the budget allows."""

    status = "oom"


class Timeout(Failure):
    """A budget was used up."""

    status = "timeout"


class Starved(Timeout):
    """The wall-time cap came first, because the machine did not let the candidate run: not its fault."""


class NotANumber(Failure):
    """The evaluator's own result is NaN or infinite."""

    status = "nan"


class Invalid(Failure):
    """The candidate broke the contract or tried to cheat. Raise it in ``evaluate.py`` with the reason."""

    status = "invalid"


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def missed(reason: str, unseen: Iterable[str]) -> str:
    """What to tell besides when a worker had none of the target's files that it asked for; empty for other reasons.

    Args:
        reason: why the candidate failed.
        unseen: the locked files that the worker was not given.
    """
    found = NOT_FOUND.search(reason)
    if found is None:
        return ""
    name = found[2].replace(".", "/") if found[1].startswith("No module") else found[2]
    for path in sorted(unseen):
        module = path.removesuffix(".py").removesuffix("/__init__")
        if name == module or path.startswith(f"{name}/") or f"/{name}".endswith(f"/{path}"):
            return (
                " (the worker sees only the editable files, the driver and what evaluate.py names: "
                f"run.candidate(..., files=[{path!r}]))"
            )
    return ""
