"""The evaluator runs the locked sources as they were, whatever comes to lie beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from looper.models import Measurement
from looper.runner import LocalRunner
from tests.measuring import Lab, one, runner_of

PLANT = """
import os, py_compile, sys
def plant():
    root = ROOT
    for name in ("json.py", "csv.py", "surprise.py", "sitecustomize.py"):
        with open(os.path.join(root, name), "w") as f:
            f.write("raise SystemExit('planted')")
    evil = os.path.join(root, "evil.py")
    with open(evil, "w") as f:
        f.write("VALUE = 99.0")
    os.makedirs(os.path.join(root, "__pycache__"))
    tag = sys.implementation.cache_tag
    for name in ("evaluate", "helper", "later"):
        cached = os.path.join(root, "__pycache__", f"{name}.{tag}.pyc")
        py_compile.compile(evil, cached, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
EVALUATE = """
import helper
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        solution.call("plant")
    import csv, later
    try:
        import surprise
    except ModuleNotFoundError:
        run.report(loss=helper.VALUE + later.VALUE)
"""


class Start:
    """A runner whose candidates reach the folder in which the evaluator finds the target; it is told them as ROOT."""

    runner: LocalRunner

    def __init__(self, slots: Path) -> None:
        self.slots, self.root = slots, slots / "0" / "target"

    def __call__(self, evaluate: str, **locked: str) -> None:
        self.runner = runner_of(self.slots, evaluate, backend="process", **locked)  # which holds nothing back

    def measure(self, solution: str) -> Measurement:
        return one(self.runner, solution.replace("ROOT", repr(str(self.root))))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    start = Start(tmp_path / "slots")
    yield start
    start.runner.close()


def test_planted_files_have_no_effect(start: Start) -> None:
    start(EVALUATE, helper="VALUE = 1.0", later="VALUE = 2.0")
    results = [start.measure(PLANT) for _ in range(2)]
    assert (start.root / "sitecustomize.py").exists()
    assert [(result.reason, dict(result.metrics)) for result in results] == [("", {"loss": 3.0})] * 2


def test_planted_files_are_gone_for_the_next_candidate(start: Start) -> None:
    start("""
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        run.report(loss=solution.call("files"))
""")
    plant = "import os\ndef files():\n  root = ROOT\n  "
    plant += "os.makedirs(root + '/a/b'); open(root + '/a/b/c', 'w'); os.mkfifo(root + '/d'); os.chmod(root + '/a', 0)"
    plant += "\n  return len(os.listdir(root))"
    look = "import os\ndef files(): return len(os.listdir(ROOT))"
    assert [start.measure(text).metrics["loss"] for text in (plant, look)] == [4.0, 2.0]


TAMPER = {
    "rewritten": "open(path, 'a').write('VALUE = 9.0')",
    "removed": "os.remove(path)",
    "replaced by a link": "os.remove(path); os.symlink(outside, path)",
    "given another name": "os.link(path, path + '2')",
    "replaced by a folder": "os.remove(path); os.mkdir(path)",
    "replaced by a pipe": "os.remove(path); os.mkfifo(path)",
}


@pytest.mark.parametrize("name", ["helper.py", "solution.py"])
@pytest.mark.parametrize("how", TAMPER)
def test_a_changed_file_of_the_target_costs_the_score_and_is_restored(
    start: Start, tmp_path: Path, how: str, name: str
) -> None:
    start(
        """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        solution.call("work")
    import helper
    run.report(loss=helper.VALUE)
""",
        helper="VALUE = 1.0",
    )
    outside = tmp_path / "outside.py"
    outside.write_text("VALUE = 9.0")
    solution = f"""
        import os
        def work():
            path, outside = os.path.join(ROOT, {name!r}), {str(outside)!r}
            {TAMPER[how]}
        """
    result = start.measure(solution)
    assert (result.status, dict(result.metrics)) == ("tampered", {})
    assert result.reason == f"files of the target were changed during the run: {name}"
    assert [line.partition(": was ")[0] for line in result.facts["tampered"]] == [name]
    assert start.measure("def work(): pass").metrics == {"loss": 1.0}
    assert outside.read_text() == "VALUE = 9.0"


def test_a_target_may_have_packages_and_its_modules_come_before_installed_ones(tmp_path: Path) -> None:
    # a file of this name and a package of the same name: pytest is installed, the target's own wins
    evaluate = """
import pytest
from parts.inner.sums import double
import parts
def evaluate(run): run.report(loss=double(pytest.VALUE) + parts.ONE)
"""
    files = {"pytest": "VALUE = 4.0", "parts/__init__": "ONE = 1", "parts/inner/sums": "def double(x): return 2 * x"}
    runner = runner_of(tmp_path / "slots", evaluate, **files)
    try:
        result = one(runner, "")
        assert (result.reason, dict(result.metrics)) == ("", {"loss": 9.0})
    finally:
        runner.close()


def test_the_standard_library_comes_before_the_target_on_both_sides(lab: Lab) -> None:
    evaluate = """
import profile
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        run.report(loss=solution.call("answer") + hasattr(profile, "Profile"))
"""
    solution = "import cProfile, profile\ndef answer(): return float(hasattr(profile, 'Profile'))"
    assert lab.measure(solution, evaluate, profile="raise SystemExit").metrics == {"loss": 2.0}
