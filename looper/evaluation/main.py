"""The evaluator process: takes one job, loads the locked ``evaluate.py``, reports.

The job comes on standard input, and the result leaves on a pipe that only looper, the keeper and it hold.
Workers alone are bound to their slot's cores: a worker that fills its core must not keep its watch from looking.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from looper import sandbox
from looper.evaluation.failures import Failure, Starved
from looper.evaluation.logtext import clean, one_line
from looper.evaluation.run import Run
from looper.evaluation.sources import load_evaluator
from looper.sandbox.keeper import Keeper


def main(events: int, keeper: Keeper) -> None:
    """Read the job, evaluate, write the events and one result as JSON lines to the descriptor ``events``."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with open(0, "rb", closefd=False) as stdin:
        line = stdin.readline()
    if not line.endswith(b"\n"):
        return
    job = json.loads(line)
    with open(events, "wb", buffering=0) as out:
        evaluate_job(job, keeper, lambda event, **fields: _write(out, {"event": event, **fields}))


def evaluate_job(job: dict[str, Any], keeper: Keeper, emit: Callable[..., None]) -> None:
    """Evaluate, and emit the result, whatever happens."""
    started = time.monotonic()
    confinement = sandbox.Sandbox(job["sandbox"], keeper.launch)
    run = Run(job, emit, confinement)
    try:
        evaluate = load_evaluator(Path(job["root"]), job["evaluator"], job["locked"], job["editable"])
        result = result_of(run, evaluate)
    except BaseException as error:
        # The evaluator is locked and trusted: what goes wrong in it is nobody's verdict.
        run.log_lines += traceback.format_exc().splitlines()
        text = f"{job['evaluator']}: {type(error).__name__}: {error}"
        result = {"status": "infra", "reason": one_line(text), "metrics": {}, "starved": False}
    run.timings["total_s"] = time.monotonic() - started
    run_s = run.timings["run_s"]
    facts = {
        "isolation": confinement.name,
        "level": confinement.level.name.lower(),
        "layers": list(run.layers),
        "peak_memory_mb": round(run.peak_memory_mb, 1),
    }
    if run_s > 0:
        facts["cpu_per_wall"] = round(run.timings["run_cpu_s"] / run_s, 3)
    timings = {name: round(value, 4) for name, value in run.timings.items()}
    sys.stdout.flush()
    emit("result", **result, timings=timings, facts=facts, log=clean("\n".join(run.log_lines)))


def result_of(run: Run, evaluate: Callable[[Run], None]) -> dict[str, Any]:
    """Call ``evaluate(run)`` and say how it ended: status, reason, metrics."""
    try:
        evaluate(run)
        if not run.metrics:
            raise RuntimeError("evaluate.py ended without a call of run.report().")
    except Failure as failure:
        run.finish()
        run.log_lines += failure.log.splitlines()
        return {
            "status": failure.status,
            "reason": failure.reason,
            "metrics": {},
            "starved": isinstance(failure, Starved),
        }
    run.finish()
    return {"status": "ok", "reason": "", "metrics": run.metrics, "starved": False}


def _write(out: Any, event: dict[str, Any]) -> None:
    data = memoryview(json.dumps(event).encode() + b"\n")
    while data:
        data = data[out.write(data) :]
