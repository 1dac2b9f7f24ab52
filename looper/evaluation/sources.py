"""Loads the locked evaluator and its modules: from their source, as it was before any candidate ran.

No ``.pyc`` is looked at or written, and only the target's locked files can be imported, whatever else comes to
lie in the folder: not what a worker plants while the evaluation goes on, and never the candidate's own file.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from looper.evaluation.run import Run


class LockedModules(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads the target's modules: before installed packages, after the standard library.

    Args:
        root: the target's folder.
        locked: paths of its locked files, relative to ``root``.
        editable: paths of its editable files.
    """

    def __init__(self, root: Path, locked: Iterable[str], editable: Iterable[str]) -> None:
        self._root = root
        self._paths = {_module_name(path): path for path in locked if path.endswith(".py")}
        self._sources = {path: (root / path).read_bytes() for path in self._paths.values()}
        self._editable = {_module_name(path): path for path in editable}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] in sys.stdlib_module_names:
            return None
        if name in self._editable:
            raise ImportError(
                f"{self._editable[name]} is an editable file: the evaluator does not import it, "
                f"it asks a worker: run.candidate({self._editable[name]!r})."
            )
        if name in self._paths:
            file = self._root / self._paths[name]
            folders = [str(file.parent)] if file.name == "__init__.py" else None
            return importlib.util.spec_from_file_location(name, file, loader=self, submodule_search_locations=folders)
        if any(other.startswith(f"{name}.") for other in self._paths):  # a folder without an __init__.py
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = []
            return spec
        return None

    def get_code(self, fullname: str) -> Any:
        path = self._paths[fullname]
        return self.source_to_code(self._sources[path], str(self._root / path))

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._sources[self._paths[fullname]])


def load_evaluator(root: Path, path: str, locked: Collection[str], editable: Collection[str]) -> Callable[[Run], None]:
    """The function ``evaluate`` of the locked evaluator, whose module is named after its file.

    Raises:
        ImportError: when the file's name is that of a module of the standard library.
        AttributeError: when the file has no such function.
    """
    if _module_name(path).partition(".")[0] in sys.stdlib_module_names:
        raise ImportError(f"{path} has the name of a module of Python's standard library: give it another.")
    finder = LockedModules(root, locked, editable)
    sys.meta_path.insert(0, finder)
    evaluate: Callable[[Run], None] = importlib.import_module(_module_name(path)).evaluate
    return evaluate


def _module_name(path: str) -> str:
    """``a.b`` for both ``a/b.py`` and ``a/b/__init__.py``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
