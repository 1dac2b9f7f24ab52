"""The CUDA preset of the nanogpt target on this machine's GPU: called by benchmarks/gpu.sh.

Text is the Python source of the installed packages, so that no network is needed; the figures are for finding
faults and for comparing changes on one machine, not for comparing with runs on other text.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from looper import plugins, sandbox
from looper.identity import locked_files
from looper.models import Budget, Experiment, Measurement, Metric, Target
from looper.runner import Job, LocalRunner, slots_for

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "targets" / "nanogpt"))

import preset_cuda
import scoring
import train

NANOGPT = Path(train.__file__).parent

TRAIN_S = 45.0
CHEAT_S = 4.0
TEXT_MB = 40
REFUSED = ("peek", "peek_rarely", "learn_while_scored", "train_for_ever")

#: The driver's first call and one kernel, by a worker as a candidate has it.
SMOKE = b"""
import ctypes
import torch

def answer():
    started = ctypes.CDLL("libcuda.so.1").cuInit(0)
    return float((torch.ones(512, device="cuda") * 2).sum()) if started == 0 else f"cuInit returned {started}"
"""
SMOKE_EVALUATE = b"""
from looper.evaluation import Invalid

def evaluate(run):
    with run.candidate("smoke.py") as smoke, run.clock():
        answer = smoke.call("answer")
    if answer != 1024.0:
        raise Invalid(f"the worker's answer was {answer!r:.100}")
    run.report(answer=answer)
"""

table: list[tuple[str, str, bool]] = []  # what, what was seen, whether it is as it should be


def main() -> int:
    print(f"looper's GPU checks on {torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}", flush=True)
    started = time.monotonic()
    backend = best_with_cuda()
    if not backend:
        print("\n".join(f"{what}: {seen}" for what, seen, _ in table))
        return 1
    table.append(("matrix products, bfloat16", f"{scoring.matmul_flops() / 1e12:.0f} TFLOP/s", True))
    attention()
    torch.cuda.empty_cache()
    facts = prepared()
    files = {str(path.relative_to(NANOGPT)): path.read_bytes() for path in NANOGPT.rglob("*.py")}
    baseline(facts, files, backend)
    cheats(facts, files, backend)
    table.append(("whole script", f"{time.monotonic() - started:.0f} s", True))
    width = max(len(what) for what, _, _ in table)
    print("\n" + "\n".join(f"{what:<{width}}  {'ok  ' if ok else 'FAIL'}  {seen}" for what, seen, ok in table))
    return not all(ok for _, _, ok in table)


def best_with_cuda() -> str:
    """The best isolation of this machine in which CUDA runs, empty when it runs in none; says so of each."""
    chosen = ""
    for name in sandbox.available():
        if name not in (*sandbox.AUTOMATIC, *([] if chosen else ["process"])):
            continue
        got = smoke(name)
        print(f"CUDA in a worker, isolation {name}: {got.status} {got.reason}", flush=True)
        if got.status != "ok":
            print("\n".join(f"  {line}" for line in got.log[-5:]), flush=True)
        table.append(
            (f"CUDA in a worker, isolation {name}", f"{got.status} {got.reason}"[:100].strip(), got.status == "ok")
        )
        chosen = chosen or (name if got.status == "ok" else "")
    print(f"isolation of all that follows: {chosen or 'none works'}", flush=True)
    return chosen


def smoke(backend: str) -> Measurement:
    budget = Budget(run_s=60, setup_s=120, score_s=60)
    target = Target("smoke", Path("."), ("smoke.py",), Metric("answer"), budget, device="cuda", preload=("torch",))
    return measure(target, {}, {"evaluate.py": SMOKE_EVALUATE}, {"smoke.py": SMOKE}, backend)


def attention() -> None:
    """Every way that train.py may choose from, at the shape it trains with: right, and how fast."""
    info = {"context": 2048, "device": "cuda"}
    shape = (
        train.micro_rows(preset_cuda, info), 2048, preset_cuda.WIDTH // preset_cuda.HEAD_DIM, preset_cuda.HEAD_DIM
    )  # fmt: skip
    ways = [(f"sdpa {name}", lambda *a, name=name: train.use_backend(name)(*a), None) for name in train.BACKENDS]
    ways += [(way.__name__, way, preset_cuda.SHORT_WINDOW) for way in (train.flash_window, train.flex_window)]
    usable = {None: 0, preset_cuda.SHORT_WINDOW: 0}
    for name, way, window in ways:
        try:
            seen = f"{train.measure(way(window, 2048, 'cuda'), window, shape) * 1e3:.2f} ms"
            usable[window] += 1
        except Exception as error:  # not every GPU and PyTorch has every way
            seen = f"not here: {type(error).__name__}: {str(error)[:80]}"
        kind = "full" if window is None else f"window {window}"
        table.append((f"attention, {kind}: {name}", f"{seen} (forward and backward, {shape[0]} rows)", True))
    table.append(
        ("attention: a way for each kind of layer", f"{sum(map(bool, usable.values()))} of 2", all(usable.values()))
    )


def prepared() -> Mapping[str, str]:
    """The facts of a corpus made from the installed packages."""
    command = [sys.executable, "-I", str(NANOGPT / "prepare.py"), "--corpus", "site-packages"]
    done = subprocess.run([*command, "--vocab", "8192", "--limit-mb", str(TEXT_MB)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit("benchmarks/gpu.sh: the text could not be prepared; see the lines above.")
    facts: dict[str, str] = json.loads(done.stdout)
    facts["corpus_path"] = facts.pop("folder")  # as the target's own hook hands it to the evaluator
    return facts


def target_with(budget_s: float, scored_tokens: int) -> Target:
    manager = plugins.manager(str(NANOGPT), ())
    values = {option.name: option.default for option in plugins.options_of(manager)}
    target = plugins.target_of(manager, {**values, "preset": "cuda", "corpus": "site-packages", "budget": budget_s})
    return replace(target, settings={**target.settings, "scored_tokens": scored_tokens})


def measure(
    target: Target,
    facts: Mapping[str, str],
    files: Mapping[str, bytes],
    candidate: Mapping[str, bytes],
    backend: str,
) -> Measurement:
    """One measurement of a candidate's files, by the runner that a session uses."""
    with tempfile.TemporaryDirectory(prefix="looper-gpu-") as folder:
        devices = slots_for(target, 1, ("gpu",))
        runner = LocalRunner(target, Path(folder), locked_files(target, dict(files)), facts, devices, backend)
        try:
            editable = {name: files[name] for name in target.editable if name in files} | dict(candidate)
            runner.submit(Job(Experiment(0, 1, "", "", "", "gpu.sh", "", {}), editable, seed=11))
            (done,) = runner.wait(lambda: None)
            if done.fault:
                raise SystemExit(done.fault)
            return done.measurement
        finally:
            runner.close()


def baseline(facts: Mapping[str, str], files: Mapping[str, bytes], backend: str) -> None:
    """The unedited preset, for a shorter time."""
    target = target_with(TRAIN_S, 2_097_152)
    print(f"training the unedited preset for {TRAIN_S:g} s", flush=True)
    got = measure(target, facts, files, {}, backend)
    print("\n".join(got.log), flush=True)
    if got.status != "ok":
        table.append(("CUDA preset", f"{got.status}: {got.reason}", False))
        return
    seen: dict[str, Any] = dict(got.metrics)
    table.append((f"CUDA preset, {TRAIN_S:g} s", f"val_bpb {seen['val_bpb']:.4f}", 0.3 < seen["val_bpb"] < 2.0))
    table.append(("  steps, tokens a second", f"{seen['steps']:.0f}, {seen['tokens_per_s'] / 1e6:.2f} M", True))
    table.append(("  MFU of the measured peak", f"{seen['mfu']:.1%}", 0 < seen["mfu"] < 1))
    table.append(("  parameters, epochs", f"{seen['parameters_m']:.1f} M, {seen['epochs']:.2f}", True))
    table.append(("  largest gap in the audits", f"{seen['audit_gap']:.2g} nats", True))
    spent = got.timings
    table.append(
        ("  setup (imports, attention, compilation)", f"{spent['setup_s']:.0f} s of {target.budget.setup_s:g}", True)
    )
    scored = (
        f"{spent['score_s']:.0f} s of {target.budget.score_s:g}, {target.settings['scored_tokens'] / 1e6:.1f} M tokens"
    )
    table.append(("  scoring and audits", scored, True))


def cheats(facts: Mapping[str, str], files: Mapping[str, bytes], backend: str) -> None:
    """Candidates that must be refused on a GPU as on a CPU, and one that must not."""
    target = target_with(CHEAT_S, 1_048_576)
    for name in (*REFUSED, "print_a_score"):
        print(f"wrong/{name}.py", flush=True)
        got = measure(target, facts, files, {"train.py": files[f"wrong/{name}.py"]}, backend)
        wanted = ("ok",) if name == "print_a_score" else ("invalid", "timeout")
        seen = f"val_bpb {got.metrics['val_bpb']:.3f}" if got.metrics else got.reason[:90]
        table.append((f"wrong/{name}.py", f"{got.status}: {seen}", got.status in wanted))


if __name__ == "__main__":
    sys.exit(main())
