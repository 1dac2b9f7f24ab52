"""One plugin manager a session: built-ins, installed extensions, and the target, all through one door."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pluggy

from looper import hookspecs
from looper.errors import LooperError, ProposerError, TargetError
from looper.evaluation.logtext import one_line
from looper.filenames import fault_of_declared
from looper.models import Option, Proposer, Target
from looper.places import is_tag

EXTENSIONS = "looper"  # entry-point group: plugins that are always on
TARGETS = "looper.targets"  # entry-point group: targets, loaded by name


def manager(target: str, builtins: Iterable[ModuleType]) -> pluggy.PluginManager:
    """The plugins of a session on ``target``, a folder or the name of an installed target.

    Raises:
        TargetError: when there is no such target, or a plugin's hooks are not what they should be.
    """
    plugins = pluggy.PluginManager("looper")
    plugins.add_hookspecs(hookspecs)
    for module in builtins:
        plugins.register(module)
    for point in metadata.entry_points(group=EXTENSIONS):
        with blaming(f"The plugin {point.name} ({point.value})"):
            module = point.load()
        _register(plugins, module, f"the plugin {point.name}")
    _register(plugins, _load(target), f"the target {target}")
    return plugins


def options_of(plugins: pluggy.PluginManager) -> list[Option]:
    """Every option that the plugins add, the target's first.

    Raises:
        TargetError: when two plugins add the same option.
    """
    with blaming("looper_options()"):
        options = [option for group in plugins.hook.looper_options() for option in group]
    names = [option.name for option in options]
    for name in names:
        if names.count(name) > 1:
            raise TargetError(f"Two plugins add the option --{name.replace('_', '-')}. Rename one of them.")
    return options


def target_of(plugins: pluggy.PluginManager, options: Mapping[str, Any]) -> Target:
    """The target that the plugins describe, checked.

    Raises:
        TargetError: when none does, or it is not usable.
    """
    with blaming("looper_target()"):
        target = plugins.hook.looper_target(options=dict(options))
    if target is None:
        raise TargetError(
            "target.py describes no target: it needs a function looper_target() with @looper.hookimpl above it that "
            "returns a looper.Target."
        )
    if not isinstance(target, Target):
        raise TargetError(f"looper_target() returned a {type(target).__name__}; it must return a looper.Target.")
    _check(target)
    return target


def facts_of(plugins: pluggy.PluginManager, target: Target) -> dict[str, str]:
    """Have everything made that the evaluator needs; returns what identifies it.

    Raises:
        TargetError: when that fails, or the facts are not text.
    """
    facts: dict[str, str] = {}
    with blaming("looper_prepare()"):
        for found in plugins.hook.looper_prepare(target=target):
            facts |= found or {}
    for name, value in facts.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TargetError(f"looper_prepare() returned {name!r}: {value!r}; names and values of facts must be text.")
    return facts


def proposer_of(plugins: pluggy.PluginManager, name: str, target: Target, options: Mapping[str, Any]) -> Proposer:
    """The proposer of that name.

    Raises:
        ProposerError: when there is none, or it cannot work with this target.
    """
    with blaming(f"The proposer {name}", ProposerError):
        proposer = plugins.hook.looper_proposer(name=name, target=target, options=dict(options))
    if proposer is None:
        raise ProposerError(
            f"There is no proposer {name!r}. looper brings search and replay; a target may bring its own."
        )
    if not (isinstance(proposer, Proposer) and isinstance(getattr(proposer, "name", None), str)):
        raise ProposerError(
            f"The proposer {name!r} must be a looper.Proposer with a name, not {one_line(repr(proposer))}."
        )
    return proposer


@contextlib.contextmanager
def blaming(what: str, kind: type[LooperError] = TargetError) -> Iterator[None]:
    """Turn an exception of somebody else's code into a message that says whose, and where in it.

    Raises:
        LooperError: of this ``kind``, in place of any other exception.
    """
    try:
        yield
    except LooperError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {one_line(str(error))}".rstrip(": ")
        raise kind(f"{what} failed: {text} ({last.filename}, line {last.lineno}). Mend it and run again.") from error


def is_target(name: str) -> bool:
    """Whether ``name`` is a folder with a ``target.py`` or an installed target."""
    return Path(name, "target.py").is_file() or bool(metadata.entry_points(group=TARGETS, name=name))


def _load(name: str) -> ModuleType:
    folder = Path(name)
    if (folder / "target.py").is_file():
        return _load_file(folder.resolve() / "target.py")
    for point in metadata.entry_points(group=TARGETS, name=name):
        with blaming(f"The target {name} ({point.value})"):
            module = point.load()
        if not isinstance(module, ModuleType):
            raise TargetError(f"The entry point {name!r} in {TARGETS!r} must name a module, not {point.value}.")
        return module
    installed = ", ".join(sorted(metadata.entry_points(group=TARGETS).names)) or "none"
    if folder.is_dir():
        raise TargetError(f"The folder {name} has no target.py. A target is a folder with target.py and evaluate.py.")
    raise TargetError(f"There is no target {name!r}: no such folder, and no installed target. Installed: {installed}.")


class _SourceOnly(importlib.machinery.SourceFileLoader):
    """Looks at no ``.pyc``, which need not be what its source says."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _load_file(path: Path) -> ModuleType:
    """Import ``path`` under a name of its own, without touching ``sys.path``; two targets never collide."""
    name = f"looper_target_{path.parent.name}_{hash(path):x}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_SourceOnly(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with blaming(f"Loading {path}"):
            spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = bytecode
    return module


def _register(plugins: pluggy.PluginManager, module: ModuleType, what: str) -> None:
    try:
        plugins.register(module)
        plugins.check_pending()
    except pluggy.PluginValidationError as error:
        known = ", ".join(sorted(name for name in vars(hookspecs) if name.startswith("looper_")))
        text = " ".join(str(error).split())
        raise TargetError(f"In {what}: {text}. The hooks are {known}; see looper/hookspecs.py.") from None


def _check(target: Target) -> None:
    if not is_tag(target.name):
        raise TargetError(
            f"The target's name {target.name!r} must be letters, digits, '-', '_' and single dots within: it is the "
            "default name of its sessions and their branches."
        )
    if not target.editable:
        raise TargetError(f"The target {target.name} names no editable file.")
    if fault := fault_of_declared(target):
        raise TargetError(f"The target {target.name} {fault}")
    for name in (*target.editable, target.evaluator):
        if not (target.root / name).is_file():
            raise TargetError(f"The target {target.name} has no file {name} in {target.root}.")
