"""Whatever a worker answers, the run ends as a refusal with its reason: never with a score, never as looper's fault."""

from __future__ import annotations

import math
import shutil
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from looper import plugins
from looper.identity import locked_files
from looper.models import Budget, Experiment, Measurement
from looper.runner import Job, LocalRunner, slots_for

NANOGPT = Path(__file__).resolve().parents[2] / "targets" / "nanogpt"
FILES = {str(path.relative_to(NANOGPT)): path.read_bytes() for path in NANOGPT.rglob("*.py")}

# A candidate that is honest but for one answer: EVIL takes the place of every answer that IS_IT.
CANDIDATE = """
import sys
import numpy as np
import torch
from torch import nn

worker = sys.modules["looper.evaluation.worker"]
send = worker._send
is_it = lambda answer: {is_it}
ok = np.zeros(8, np.uint8)
worker._send = lambda reply: send({{"value": {evil}}} if "value" in reply and is_it(reply["value"]) else reply)


class Pairs(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))


def build(info):
    return Pairs(info["vocab_size"])


def train(model, data, clock):
    clock.report(step=1, tokens=1)


def logits(model, tokens):
    return model.table[tokens]
"""
SETUP = 'type(answer) is dict and "parameters" in answer'
TRAIN = 'type(answer) is dict and "weights" in answer'
FINGERPRINT = "type(answer) is str"
SCORE = 'type(answer) is dict and "shape" in answer'
CLAIM = '{{"steps": {}, "tokens": 1, "flops_per_token": 0.0, "weights": reply["value"]["weights"]}}'
NO_WEIGHTS = '{**reply["value"], "weights": ok}'  # bytes, but found out by the worker that is to load them

HOSTILE = [
    *((SETUP, evil) for evil in ("None", "[]", '{"parameters": "many"}', '{"parameters": np.ones(2)}')),
    *((SETUP, evil) for evil in ('{"parameters": 10**300}', '{"parameters": [10**300] * 99}')),
    *((TRAIN, evil) for evil in ("None", "7", "ok", '{"weights": "text"}', '{"weights": np.ones((2, 2), np.uint8)}')),
    *((TRAIN, evil) for evil in ('{"weights": np.ones(3)}', NO_WEIGHTS, '{"weights": b"bytes"}')),
    *((TRAIN, CLAIM.format(evil)) for evil in ("True", "-1", 'float("inf")', 'float("nan")', '"9"', "np.ones(3)")),
    *((TRAIN, CLAIM.format(evil)) for evil in ("1e18", "None", '{"a": 1}', "10**4000")),
    *((FINGERPRINT, evil) for evil in ("None", "np.ones(3)", "[np.ones(3)]", "{}", "True")),
    *((SCORE, evil) for evil in ("None", "5", "np.ones(3)", '[{"shape": 1}]', '{"shape": 1, "dtype": "float32"}')),
    *((SCORE, evil) for evil in ('{"shape": np.ones(3), "dtype": "float32"}', '{"shape": [], "dtype": "float32"}')),
    (SCORE, '{"shape": [np.ones(2), np.ones(2), np.ones(2)], "dtype": "float32"}'),
    (SCORE, '{"shape": [float(side) for side in answer_shape], "dtype": "float32"}'),
    (SCORE, '{"shape": reply["value"]["shape"], "dtype": np.ones(3)}'),
    (SCORE, '{"shape": reply["value"]["shape"], "dtype": ["float32"]}'),
    (SCORE, '{"shape": [10**300] * 3, "dtype": "float32"}'),
]


def candidate(is_it: str, evil: str) -> bytes:
    evil = evil.replace("answer_shape", 'reply["value"]["shape"]')
    return CANDIDATE.format(is_it=is_it, evil=evil).encode()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[tuple[str, str], Measurement]]:
    """One measurement of each hostile candidate, and of one that answers as it should."""
    text = tmp_path_factory.mktemp("text")
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:60]:
        shutil.copy(path, text)
    manager = plugins.manager(str(NANOGPT), ())
    values: dict[str, Any] = {option.name: option.default for option in plugins.options_of(manager)}
    target = plugins.target_of(manager, {**values, "preset": "cpu", "corpus": str(text)})
    target = replace(
        target,
        budget=Budget(10.0, setup_s=60, score_s=60, clock="cpu", memory_mb=4096),
        settings={**target.settings, "scored_tokens": 4096},
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOOPER_CACHE", str(tmp_path_factory.mktemp("cache")))
        (facts,) = manager.hook.looper_prepare(target=target)
    slots = slots_for(target, None, ())
    runner = LocalRunner(target, tmp_path_factory.mktemp("run"), locked_files(target, FILES), facts, slots, "process")
    todo = [("False", "None"), *HOSTILE]
    editable = {name: FILES[name] for name in target.editable}
    done: dict[tuple[str, str], Measurement] = {}
    try:
        for number, case in enumerate(todo):
            experiment = Experiment(number, 1, "", "", "", "test", "", {})
            while not runner.free:
                done |= {todo[ended.job.experiment.n]: ended.measurement for ended in runner.wait(lambda: None)}
            runner.submit(Job(experiment, {**editable, "train.py": candidate(*case)}, seed=3))
        while len(done) < len(todo):
            done |= {todo[ended.job.experiment.n]: ended.measurement for ended in runner.wait(lambda: None)}
        yield done
    finally:
        runner.close()


@pytest.mark.slow
def test_the_candidate_that_lies_nowhere_has_a_score(measured: Mapping[tuple[str, str], Measurement]) -> None:
    honest = measured["False", "None"]
    assert (honest.status, honest.reason) == ("ok", "")
    assert math.isfinite(honest.metrics["val_bpb"])


@pytest.mark.slow
@pytest.mark.parametrize(("is_it", "evil"), HOSTILE)
def test_a_hostile_answer_is_refused_with_its_reason(
    measured: Mapping[tuple[str, str], Measurement], is_it: str, evil: str
) -> None:
    ended = measured[is_it, evil]
    assert (ended.status, ended.metrics) == ("crash" if evil == NO_WEIGHTS else "invalid", {}), ended.reason
    assert ended.reason
    assert len(ended.reason) < 400
