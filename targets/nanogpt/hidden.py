"""Where the text of val and holdout lies on this machine: what no worker may see."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from glob import escape, glob

from dataset import Corpus

#: Folders with standard libraries, whichever Python they belong to: a worker sees all of /usr.
LIBRARIES = ("/usr/lib/python3*", "/usr/lib64/python3*", "/usr/local/lib/python3*", "/usr/lib/pypy3*")
#: Folders with installed packages, below a library.
PACKAGES = ("", "site-packages", "dist-packages")
#: Where newer versions of Python keep a copy of modules that they removed from the library.
REMOVED = "test/support"


def hidden_paths(corpus: Corpus, text_path: str) -> list[str]:
    """Absolute paths that a worker must not be able to read; each is there, and none lies below another.

    Modules that are scored, of every Python that a worker sees, as source and compiled; the user's own text; and
    the prepared corpora.

    Args:
        text_path: the user's own file or folder, empty when the text is not theirs.
    """
    found = {str(corpus.folder.parent), *places(text_path)}
    for root in module_roots():
        found.update(copies(root, corpus.hidden))
    return [path for path in sorted(found) if not any(path.startswith(f"{other}/") for other in found)]


def module_roots() -> list[str]:
    """Every folder in which some Python of this machine looks for modules."""
    paths = sysconfig.get_paths()
    libraries = [paths["stdlib"], *(found for pattern in LIBRARIES for found in glob(pattern))]
    for prefix in {sys.prefix, sys.base_prefix}:
        libraries += glob(f"{escape(prefix)}/lib*/python3*")
    roots = [os.path.join(library, inner) for library in libraries for inner in (*PACKAGES, REMOVED)]
    roots += [paths["purelib"], paths["platlib"]]
    return sorted({os.path.realpath(root) for root in roots if os.path.isdir(root)})


def copies(root: str, names: Iterable[str]) -> set[str]:
    """The packages and modules ``names`` below ``root``: folders, sources, and what was compiled from them."""
    entries = cache(lambda folder: os.listdir(folder) if os.path.isdir(folder) else [])
    found = set()
    for name in names:
        parent, module = os.path.split(os.path.join(root, name))
        for folder in (parent, f"{parent}/__pycache__"):
            found.update(f"{folder}/{entry}" for entry in entries(folder) if entry.split(".")[0] == module)
    return found


def places(path: str) -> set[str]:
    """The path and what it links to; none when it is empty."""
    return {os.path.abspath(path), os.path.realpath(path)} if path else set()
