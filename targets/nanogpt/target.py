"""The nanogpt target: train a small GPT for a fixed time, judged by val_bpb. Two presets, one program.

Loaded in looper's own light process: nothing heavy is imported here.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from looper import hookimpl
from looper.errors import TargetError
from looper.models import Budget, Metric, Option, Target

ROOT = Path(__file__).resolve().parent

#: Everything in which the presets differ outside train.py and its constants.
PRESETS: dict[str, dict[str, Any]] = {
    "cpu": {
        "corpus": "stdlib",
        "vocab": 1024,
        "budget": {"run_s": 20.0, "setup_s": 60.0, "score_s": 60.0, "clock": "cpu", "memory_mb": 4096},
        # kept back from run_s for the last step and for handing over the weights
        "reserve_s": 0.4,
        # The unedited file's score moves by 0.0124 from run to run (standard deviation of 24 runs, two at a time on
        # two cores), so the gap between two runs by 0.0175: luck exceeds 0.03 in 4 of 100 comparisons.
        "min_delta": 0.03,
        "settings": {
            "context": 256,
            "rows": 16,
            "scored_tokens": 65_536,
            "logits": "float32",
            "weights_mb": 256,
            # nats at one position, and on average: honest models give exactly 0 here, bfloat16 or not; what is
            # left is for other kernels, and the mean is worth 0.00006 of val_bpb
            "tolerance": (0.01, 1e-4),
        },
    },
    "cuda": {
        "corpus": "climbmix",
        "vocab": 8192,
        "budget": {"run_s": 300.0, "setup_s": 180.0, "score_s": 120.0, "clock": "wall", "memory_mb": None},
        "reserve_s": 3.0,
        # published pairs of equal runs differ by 0.0007 to 0.002
        "min_delta": 0.002,
        "settings": {
            "context": 2048,
            "rows": 32,
            "scored_tokens": 4_194_304,
            "logits": "float16",
            "weights_mb": 4096,
            # kernels may round differently from call to call: bfloat16 moves a single loss by some hundredths;
            # the mean is worth 0.0014 of val_bpb, less than min_delta
            "tolerance": (0.25, 4e-3),
        },
    },
}


@hookimpl
def looper_options() -> Sequence[Option]:
    return [
        Option("preset", "auto", "what to train: cuda where there is an NVIDIA GPU, else cpu", ("auto", "cpu", "cuda")),
        Option("corpus", None, "stdlib (cpu's own), climbmix (cuda's own), site-packages, or a file or folder of text"),
        Option("budget", 0.0, "seconds of training an experiment; 0 is the preset's: 20 CPU seconds, or 300 on a GPU"),
        Option("fixed_steps", 0, "train for this many steps and not by the clock, which replays exactly; 0 is off"),
    ]


@hookimpl
def looper_target(options: Mapping[str, Any]) -> Target:
    name = options["preset"] if options["preset"] != "auto" else ("cuda" if has_gpu() else "cpu")
    preset = PRESETS[name]
    if options["budget"] < 0 or options["fixed_steps"] < 0:
        raise TargetError("--budget and --fixed-steps take 0 or a larger number.")
    budget = dict(preset["budget"])
    if options["budget"]:
        budget["run_s"] = options["budget"]
    reserve_s = min(preset["reserve_s"], 0.1 * budget["run_s"])
    if options["fixed_steps"]:
        budget["run_s"] = 3600.0  # the steps end the run; this only ends one that hangs
    return Target(
        name="nanogpt",
        root=ROOT,
        editable=("train.py", f"preset_{name}.py"),
        metric=Metric("val_bpb", "min", min_delta=preset["min_delta"]),
        budget=Budget(**budget),
        device=name,
        preload=("torch",),
        settings={
            **preset["settings"],
            "preset": name,
            "corpus": options["corpus"] or preset["corpus"],
            "vocab": preset["vocab"],
            "reserve_s": reserve_s,
            "fixed_steps": options["fixed_steps"],
        },
    )


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is visible on this machine."""
    return bool(glob.glob("/proc/driver/nvidia/gpus/*")) or os.path.exists("/dev/nvidia0")


@hookimpl
def looper_prepare(target: Target) -> Mapping[str, str]:
    """The corpus, made on first use. Its folder and hashes; TargetError when it cannot be made."""
    settings = target.settings
    command = [sys.executable, "-I", str(ROOT / "prepare.py")]
    command += ["--corpus", settings["corpus"], "--vocab", str(settings["vocab"])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise TargetError(f"The corpus {settings['corpus']!r} could not be prepared: see the lines above.")
    facts: dict[str, str] = json.loads(done.stdout)
    facts["corpus_path"] = facts.pop("folder")
    return facts
