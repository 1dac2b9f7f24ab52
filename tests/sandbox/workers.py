"""Workers on their own: the test is the evaluator."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from looper.evaluation.candidate import Candidate, Host
from looper.sandbox import Sandbox
from tests.measuring import best


def worker_of(
    folder: Path,
    code: str,
    backend: str = "",
    check: Callable[[], None] = lambda: None,
    files: Mapping[str, bytes] | None = None,
    hidden: tuple[str, ...] = (),
) -> Candidate:
    """A worker that has loaded ``code``, in a zygote of its own; close it in the end."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    host = Host(Sandbox(backend or best()), str(scratch), "cpu", (), (), None, check, lambda values: None)
    worker = Candidate(host, {"solution.py": textwrap.dedent(code).encode(), **(files or {})}, hidden)
    try:
        worker.load("solution.py", None)
    except BaseException:
        worker.close()
        raise
    return worker
