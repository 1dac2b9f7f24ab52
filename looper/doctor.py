"""What this machine offers, and how to get what it lacks: the body of ``looper doctor``."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from looper import hardware, sandbox
from looper.places import cache_folder

#: Optional packages, and the extra of looper's that brings each.
PACKAGES = {
    "torch": "nanogpt",
    "tokenizers": "nanogpt",
    "optuna": "search",
    "triton": "kernels",
    "numba": "kernels",
}

State = Literal["ok", "missing", "fails"]
STYLES = {"ok": "green", "missing": "yellow", "fails": "red"}
SLOW_CLOCK_NS = 1000
LITTLE_DISK = 5 * 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Args:
        name: what.
        state: ``ok``; ``missing``, looper runs without it; ``fails``, looper cannot run like this.
        found: what is there, in a few words.
        advice: how to get what is missing; empty when ok.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def checks() -> list[Check]:
    """Look at everything; takes about a second, most of it spent on trying the isolation layers."""
    return [
        Check("Python", "ok", platform.python_version()),
        git(),
        processor(),
        Check("memory", "ok", hardware.gib(hardware.memory_bytes())),
        gpu(),
        *(package(name) for name in PACKAGES),
        *isolation(),
        clock(),
        cache(),
        disk("disk for data", cache_folder()),
        disk("disk for sessions", Path.cwd()),
    ]


def render(found: Sequence[Check], console: Console) -> None:
    """Print the checks as a table, and what they come to in one line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "", "found", "how to get it"):
        table.add_column(heading, no_wrap=not heading)
    for check in found:
        state = f"[{STYLES[check.state]}]{check.state}[/]"
        table.add_row(check.name, state, escape(check.found), escape(check.advice))
    console.print(table)
    failed = [check.name for check in found if check.state == "fails"]
    console.print(f"looper cannot run here: see {', '.join(failed)}." if failed else "looper runs here.")


def to_json(found: Sequence[Check]) -> str:
    """The checks as a JSON list of objects with the fields of :class:`Check`."""
    return json.dumps([asdict(check) for check in found], indent=2)


def git() -> Check:
    try:
        answer = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return Check("git", "fails", "does not run", "Install git (Debian and Ubuntu: apt install git).")
    return Check("git", "ok", answer.stdout.strip().removeprefix("git version "))


def processor() -> Check:
    usable, there = hardware.cores(), os.cpu_count() or 1
    of = "" if usable == there else f" of {there}"
    return Check("processor", "ok", f"{hardware.cpu_model()}, {usable}{of} cores")


def gpu() -> Check:
    usable = hardware.usable_gpus()
    if usable:
        return Check("GPU", "ok", f"{', '.join(map(str, usable))}; driver {usable[0].driver}")
    if hardware.installed_gpus():
        advice = "Unset CUDA_VISIBLE_DEVICES, or name one of them in it."
        return Check("GPU", "missing", "hidden by CUDA_VISIBLE_DEVICES", advice)
    return Check("GPU", "missing", "no NVIDIA GPU", "None needed: the targets have presets for the CPU.")


def package(name: str) -> Check:
    advice = f"pip install 'looper-lab[{PACKAGES[name]}]'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "missing", "not installed", advice)
    if version.endswith("+cpu") and hardware.usable_gpus():
        advice = f"Reinstall {name} {version.removesuffix('+cpu')} from the package index to use the GPU."
        return Check(name, "missing", f"{version}, built without CUDA", advice)
    return Check(name, "ok", version)


def isolation() -> Iterator[Check]:
    layers = sandbox.report()
    without: State = "missing" if any(layer.on for layer in layers) else "fails"
    for layer in layers:
        state = "ok" if layer.on else without
        yield Check(f"isolation: {layer.name}", state, f"on {layer.why}".strip() if layer.on else layer.why, layer.fix)


def clock() -> Check:
    """How long one reading of the wall clock takes: the quickest of a few tries, each over many readings."""
    readings = 1000
    tries = []
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(readings):
            time.perf_counter_ns()
        tries.append((time.perf_counter_ns() - start) / readings)
    try:
        source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource").read_text().strip()
    except OSError:
        source = hardware.UNKNOWN
    found = f"{source}, {min(tries):.0f} ns a reading"
    if min(tries) > SLOW_CLOCK_NS:
        advice = "Timings of short runs are coarse: start the kernel with clocksource=tsc if it can."
        return Check("clock", "missing", found, advice)
    return Check("clock", "ok", found)


def cache() -> Check:
    folder = cache_folder()
    there = _existing(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Check("cache folder", "ok", str(folder))
    advice = f"Make {there} a folder that you may write to, or set LOOPER_CACHE to one."
    return Check("cache folder", "fails", f"{folder} cannot be written", advice)


def disk(name: str, folder: Path) -> Check:
    free = shutil.disk_usage(_existing(folder)).free
    if free < LITTLE_DISK:
        return Check(name, "missing", f"{hardware.gib(free)} free", f"Make room under {folder}.")
    return Check(name, "ok", f"{hardware.gib(free)} free")


def _existing(path: Path) -> Path:
    """``path`` or the nearest of its parents that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
