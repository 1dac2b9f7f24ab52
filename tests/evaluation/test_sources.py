"""The evaluator runs the locked sources as they were, whatever comes to lie beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.measuring import Lab, one, runner_of

PLANT = """
import os, py_compile, sys
def plant():
    root = os.path.dirname(__file__)
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


def test_planted_files_have_no_effect(lab: Lab) -> None:
    results = [lab.measure(PLANT, EVALUATE, helper="VALUE = 1.0", later="VALUE = 2.0") for _ in range(2)]
    assert [(result.reason, dict(result.metrics)) for result in results] == [("", {"loss": 3.0})] * 2


def test_planted_files_are_gone_for_the_next_candidate(lab: Lab) -> None:
    evaluate = """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        run.report(loss=solution.call("files"))
"""
    plant = "import os\ndef files():\n  root = os.path.dirname(__file__)\n  "
    plant += "os.makedirs(root + '/a/b'); open(root + '/a/b/c', 'w'); os.mkfifo(root + '/d'); os.chmod(root + '/a', 0)"
    plant += "\n  return len(os.listdir(root))"
    look = "import os\ndef files(): return len(os.listdir(os.path.dirname(__file__)))"
    assert [lab.measure(text, evaluate).metrics["loss"] for text in (plant, look)] == [4.0, 2.0]


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
def test_a_changed_file_of_the_target_makes_the_run_invalid_and_is_restored(
    lab: Lab, tmp_path: Path, how: str, name: str
) -> None:
    evaluate = """
def evaluate(run):
    with run.candidate("solution.py") as solution, run.clock():
        solution.call("work")
    import helper
    run.report(loss=helper.VALUE)
"""
    outside = tmp_path / "outside.py"
    outside.write_text("VALUE = 9.0")
    solution = f"""
        import os
        def work():
            path, outside = os.path.join(os.path.dirname(__file__), {name!r}), {str(outside)!r}
            {TAMPER[how]}
        """
    result = lab.measure(solution, evaluate, helper="VALUE = 1.0")
    assert (result.status, dict(result.metrics)) == ("invalid", {})
    assert result.reason == f"files of the target were changed during the run: {name}"
    assert lab.measure("def work(): pass", evaluate, helper="VALUE = 1.0").metrics == {"loss": 1.0}
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
