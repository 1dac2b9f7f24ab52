"""The evaluator process: takes one job on standard input, loads the locked ``evaluate.py``, reports.

Standard input stays open as a lifeline: when looper is gone it ends, and so does this process, and with it
(by their parent-death signals) every worker. The result leaves on a pipe that only looper and it hold.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from looper.evaluation.logtext import clean, one_line
from looper.evaluation.run import Run, result_of


def main(result_fd: int) -> None:
    """Read the job, evaluate, write the events and one result as JSON lines to ``result_fd``."""
    os.set_inheritable(result_fd, False)
    out = os.fdopen(result_fd, "wb")
    line = sys.stdin.buffer.readline()
    if not line:
        return
    threading.Thread(target=die_with_looper, daemon=True).start()
    job = json.loads(line)
    if job["cores"]:
        os.sched_setaffinity(0, job["cores"])
    started = time.monotonic()

    def emit(event: str, **fields: Any) -> None:
        out.write(json.dumps({"event": event, **fields}).encode() + b"\n")
        out.flush()

    run = Run(job, emit)
    try:
        evaluate = load_evaluator(Path(job["root"]), job["evaluator"])
        result = result_of(run, evaluate)
    except BaseException as error:
        # The evaluator is locked and trusted: what goes wrong in it is nobody's verdict.
        run.log_lines += traceback.format_exc().splitlines()
        text = f"{job['evaluator']}: {type(error).__name__}: {error}"
        result = {"status": "infra", "reason": one_line(text), "metrics": {}, "starved": False}
    run.timings["total_s"] = time.monotonic() - started
    run_s = run.timings["run_s"]
    facts = {
        "isolation": job["sandbox"],
        "layers": list(run.layers),
        "peak_memory_mb": round(run.peak_memory_mb, 1),
    }
    if run_s > 0:
        facts["cpu_per_wall"] = round(run.timings["run_cpu_s"] / run_s, 3)
    timings = {name: round(value, 4) for name, value in run.timings.items()}
    emit("result", **result, timings=timings, facts=facts, log=clean("\n".join(run.log_lines)))
    os._exit(0)  # everything is closed; spare the libraries' own farewells


def die_with_looper() -> None:
    """Wait for the end of standard input; a worker in full flow must not outlive looper by a tick."""
    os.read(0, 1)
    os._exit(1)


class SourceOnly(importlib.machinery.SourceFileLoader):
    """Compiles a target's modules from their source, always: a planted ``.pyc`` is never looked at."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class TargetFinder(importlib.abc.MetaPathFinder):
    """Finds the modules beside ``evaluate.py``, from source only."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        file = self.root.joinpath(*name.split("."))
        for source, folder in ((file / "__init__.py", [str(file)]), (file.with_suffix(".py"), None)):
            if source.is_file():
                loader = SourceOnly(name, str(source))
                return importlib.util.spec_from_file_location(
                    name, source, loader=loader, submodule_search_locations=folder
                )
        return None


def load_evaluator(root: Path, path: str) -> Callable[[Run], None]:
    """The function ``evaluate`` of the locked evaluator.

    Raises:
        AttributeError: when the file has no such function.
    """
    # Last, so that no file of the target can take the place of a library module.
    sys.meta_path.append(TargetFinder(root))
    loader = SourceOnly("evaluate", str(root / path))
    spec = importlib.util.spec_from_file_location("evaluate", root / path, loader=loader)
    assert spec is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules["evaluate"] = module
    loader.exec_module(module)
    evaluate: Callable[[Run], None] = module.evaluate
    return evaluate
