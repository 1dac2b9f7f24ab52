"""Starts Python again, as this very looper."""

from __future__ import annotations

import sys
from pathlib import Path

import looper


def python_code(code: str, *options: str) -> list[str]:
    """A command that runs ``code`` in an isolated Python that imports this very looper, installed or not."""
    root = str(Path(looper.__file__).parent.parent)
    find = f"import sys; sys.path.insert(0, {root!r}); import looper; del sys.path[0]"
    return [sys.executable, "-I", *options, "-c", f"{find}; {code}"]
