"""Workers on their own: the test is the evaluator."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

from looper import sandbox
from looper.evaluation.candidate import Candidate, Host


def worker_of(folder: Path, code: str, check: Callable[[], None] = lambda: None) -> Candidate:
    """A worker that has loaded ``code``; close it in the end."""
    root, scratch = folder / "target", folder / "scratch"
    for place in (root, scratch):
        place.mkdir(exist_ok=True)
    (root / "solution.py").write_text(textwrap.dedent(code))
    host = Host(sandbox.get("process"), str(root), str(scratch), "cpu", (), check, lambda values: None)
    worker = Candidate(host)
    try:
        worker.load("solution.py", None)
    except BaseException:
        worker.close()
        raise
    return worker
