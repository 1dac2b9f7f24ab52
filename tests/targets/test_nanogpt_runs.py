"""The nanogpt target in real processes: an evaluator, three workers, a prepared corpus; at tiny sizes."""

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
from looper.errors import TargetError
from looper.identity import locked_files
from looper.models import Budget, Experiment, Measurement, Target
from looper.runner import Job, LocalRunner, slots_for
from looper.sandbox import Level, available

NANOGPT = Path(__file__).resolve().parents[2] / "targets" / "nanogpt"
MANAGER = plugins.manager(str(NANOGPT), ())
FILES = {str(path.relative_to(NANOGPT)): path.read_bytes() for path in NANOGPT.rglob("*.py")}


def target_with(**options: Any) -> Target:
    """The target as the command line makes it, these options given."""
    values = {option.name: option.default for option in plugins.options_of(MANAGER)}
    return plugins.target_of(MANAGER, {**values, "preset": "cpu", **options})


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """About 2 MB of Python source, prepared by the target's own hook."""
    folder = tmp_path_factory.mktemp("text")
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:120]:
        shutil.copy(path, folder)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOOPER_CACHE", str(tmp_path_factory.mktemp("cache")))
        (prepared,) = MANAGER.hook.looper_prepare(target=target_with(corpus=str(folder)))
        yield prepared


def measure(
    target: Target, facts: Mapping[str, str], folder: Path, candidates: list[bytes], sandbox: str = "process"
) -> list[Measurement]:
    """One measurement of each ``train.py``, all with the same seed, as many at once as there are cores."""
    target = replace(target, settings={**target.settings, "scored_tokens": 4096})
    runner = LocalRunner(target, folder, locked_files(target, FILES), facts, slots_for(target, None, ()), sandbox)
    editable = {name: FILES[name] for name in target.editable}
    todo = dict(enumerate(candidates))
    done: dict[int, Measurement] = {}
    try:
        while len(done) < len(candidates):
            while todo and runner.free:
                number = min(todo)
                experiment = Experiment(number, 1, "", "", "", "test", "", {})
                runner.submit(Job(experiment, {**editable, "train.py": todo.pop(number)}, seed=11))
            for ended in runner.wait(lambda: None):
                done[ended.job.experiment.n] = ended.measurement
    finally:
        runner.close()
    return [done[number] for number in range(len(candidates))]


@pytest.mark.slow
def test_equal_steps_with_an_equal_seed_give_the_equal_score(facts: Mapping[str, str], tmp_path: Path) -> None:
    one, other = measure(target_with(fixed_steps=12), facts, tmp_path, [FILES["train.py"]] * 2)
    assert one.status == other.status == "ok", (one.reason, one.log)
    assert one.metrics["val_bpb"] == other.metrics["val_bpb"]
    assert 1 < one.metrics["val_bpb"] < 4.5
    assert one.metrics["steps"] == 12
    names = {"val_bpb", "tokens_per_s", "steps", "epochs", "parameters_m", "peak_memory_mb"}
    assert set(one.metrics) == names | {"audit_gap"}
    assert all(math.isfinite(one.metrics[name]) and one.metrics[name] > 0 for name in names)


ENDS = {
    "train_for_ever": ("timeout", "run budget"),
    "sleep": ("timeout", "waited instead of working"),
    "exit_early": ("crash", "without an answer"),
    "huge_weights": ("invalid", "limit"),
    "other_weights": ("crash", "extra"),
    "claim_nonsense": ("invalid", "steps"),
    "not_a_number": ("nan", "val_bpb"),
    "peek_and_remember": ("invalid", "tokens after its target"),
    "print_a_score": ("ok", ""),
    "keep_a_child": ("ok", ""),
    "go_on_in_a_thread": ("ok", ""),
    "patch_the_metric": ("ok", ""),
    "pretend_to_be_a_tensor": ("ok", ""),
    "train_in_build": ("timeout", "run budget"),
    "patch_the_clock": ("timeout", "run budget"),
    "hide_the_work": ("timeout", "run budget"),
    "exit_when_scored": ("crash", "without an answer"),
    "raise_now_and_then": ("crash", "too hard"),
    "bad_header": ("crash", "safetensors"),
    "answer_for_the_worker": ("invalid", "refused"),
    "lie_about_the_shape": ("invalid", "refused"),
    "answer_with_arrays": ("invalid", "fingerprint"),
    "write_later": ("invalid", "loss"),
}
LONG = {"huge_weights"}  # to copy gigabytes takes its time
UNTRAINED = ("print_a_score", "keep_a_child", "go_on_in_a_thread", "patch_the_metric", "pretend_to_be_a_tensor")


@pytest.mark.slow
def test_a_candidate_that_does_wrong_ends_as_it_should(facts: Mapping[str, str], tmp_path: Path) -> None:
    short = Budget(1.0, clock="cpu", wall_factor=6, setup_s=60, score_s=60, memory_mb=4096)
    ended = {}
    for budget, names in ((short, ENDS.keys() - LONG), (replace(short, run_s=10.0), LONG)):
        target = replace(target_with(budget=1.0), budget=budget)
        measured = measure(target, facts, tmp_path, [FILES[f"wrong/{name}.py"] for name in names])
        ended |= dict(zip(names, measured, strict=True))

    said = {name: (m.status, m.reason) for name, m in ended.items()}
    assert {name: status for name, (status, _) in said.items()} == {name: status for name, (status, _) in ENDS.items()}
    assert [name for name, (_, reason) in said.items() if ENDS[name][1] not in reason] == [], said
    assert all(not m.metrics for m in ended.values() if m.status != "ok")
    # the printed score is in the log, and nowhere else
    (score,) = {ended[name].metrics["val_bpb"] for name in UNTRAINED}
    assert score > 3
    assert "val_bpb: 0.000001" in ended["print_a_score"].log


# These fool the audits where workers reach each other or the disk: only isolation holds them back.
HELD_BY_ISOLATION = {
    "tell_the_auditor_by_file": "invalid",
    "tell_the_auditor_by_memory": "invalid",
    "tell_the_auditor_by_socket": "invalid",
    "read_token_files": "ok",
    "train_when_loaded": "ok",
    "outlive_the_budget": "ok",
}


@pytest.mark.slow
@pytest.mark.parametrize("sandbox", available(Level.NAMESPACES))
def test_what_only_isolation_holds_back_has_no_gain(facts: Mapping[str, str], tmp_path: Path, sandbox: str) -> None:
    candidates = [FILES[f"wrong/{name}.py"] for name in HELD_BY_ISOLATION]
    measured = measure(target_with(budget=5.0), facts, tmp_path, candidates, sandbox)
    assert [m.status for m in measured] == list(HELD_BY_ISOLATION.values()), [m.reason for m in measured]
    assert all(m.metrics["val_bpb"] > 3 for m in measured if m.status == "ok")


@pytest.mark.slow
def test_without_isolation_one_of_them_would_have_gained(facts: Mapping[str, str], tmp_path: Path) -> None:
    (measured,) = measure(target_with(budget=5.0), facts, tmp_path, [FILES["wrong/read_token_files.py"]], "process")
    assert measured.status == "ok", measured.reason
    assert measured.metrics["val_bpb"] < 2.5  # untrained it has more than 3


def test_the_presets_differ_and_each_names_its_own_constants() -> None:
    cpu, cuda = target_with(preset="cpu"), target_with(preset="cuda")
    assert (cpu.budget.run_s, cpu.budget.clock, cpu.device) == (20.0, "cpu", "cpu")
    assert (cuda.budget.run_s, cuda.budget.clock, cuda.device) == (300.0, "wall", "cuda")
    assert cpu.editable == ("train.py", "preset_cpu.py")
    assert cuda.editable == ("train.py", "preset_cuda.py")
    assert (cpu.settings["corpus"], cuda.settings["corpus"]) == ("stdlib", "climbmix")


def test_options_reach_the_budget_and_the_settings() -> None:
    target = target_with(budget=5.0, corpus="some/folder")
    assert target.budget.run_s == 5.0
    assert target.settings["corpus"] == "some/folder"
    assert target.settings["reserve_s"] < 1.0
    assert target_with(fixed_steps=7).settings["fixed_steps"] == 7


@pytest.mark.parametrize("options", [{"budget": -1.0}, {"fixed_steps": -1}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TargetError, match="0 or a larger number"):
        target_with(**options)


def test_a_corpus_that_is_not_there_is_a_clear_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "nothing")
    with pytest.raises(TargetError, match="could not be prepared"):
        MANAGER.hook.looper_prepare(target=target_with(corpus=missing))
    assert missing in capfd.readouterr().err
