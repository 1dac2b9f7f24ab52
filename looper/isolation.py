"""Which isolation a session gets: the best that works here, never less than was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from looper import sandbox
from looper.errors import LooperError

AUTO = "auto"
UNSAFE = "process"
CHOICES = (AUTO, *(name for name in sandbox.BACKENDS if name != UNSAFE))
LEVELS = tuple(level.name.lower() for level in sandbox.Level if level != sandbox.Level.PROCESS)


class IsolationError(LooperError):
    """This machine cannot isolate candidates as asked."""


@dataclass(frozen=True)
class Isolation:
    """A backend and the level that it holds workers to; measurements are compared within a level only."""

    sandbox: str
    level: str


@dataclass(frozen=True)
class Wish:
    """What the user asked for.

    Args:
        sandbox: name of a backend, or ``auto`` for the best that works.
        least: name of the lowest level to accept.
        unsafe: go without isolation, knowingly.
    """

    sandbox: str = AUTO
    least: str = "namespaces"
    unsafe: bool = False


def choose(wish: Wish) -> Isolation:
    """The isolation to use, found by really starting a worker in it.

    Raises:
        IsolationError: when nothing that works here is enough; it says why, and what to do.
    """
    if wish.unsafe:
        return _of(UNSAFE)
    least = sandbox.Level[wish.least.upper()]
    names = (wish.sandbox,) if wish.sandbox != AUTO else sandbox.AUTOMATIC
    missing = []
    for name in names:
        if sandbox.BACKENDS[name].level < least:
            continue
        found = sandbox.probe(name)
        if not found.fault:
            return _of(name)
        missing.append(sandbox.explain(found))
    if not missing:
        raise IsolationError(
            f"--sandbox {wish.sandbox} is of a lower level than {wish.least}. "
            f"Accept it with --min-level {_of(names[0]).level}, or take another sandbox."
        )
    reasons = "\n".join(_reasons(missing))
    raise IsolationError(
        f"Candidates are code that nobody has read, and this machine does not isolate them at level {wish.least}:\n"
        f"{reasons}\n"
        "`looper doctor` shows what works here. --min-level takes less, --unsafe-no-sandbox none at all."
    )


def _reasons(missing: list[sandbox.Layer]) -> list[str]:
    """A line for each fault, then one that says what to do for all backends that need the same."""
    fixes: dict[str, list[str]] = {}
    for layer in missing:
        fixes.setdefault(layer.fix, []).append(layer.name)
    lines = []
    for fix, names in fixes.items():
        lines += [f"  {layer.name}: {layer.why}" for layer in missing if layer.name in names]
        lines += [f"  For {' and '.join(names)}: {fix}"] if fix else []
    return lines


def _of(name: str) -> Isolation:
    return Isolation(name, sandbox.BACKENDS[name].level.name.lower())
