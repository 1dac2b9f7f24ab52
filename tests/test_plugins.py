"""Plugins and targets, from a folder and installed; what is wrong with one is said by name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from looper.cli import cli
from looper.errors import LooperError
from tests.projects import COMMAND, ROOT
from tests.scripted import Scripted

BETTER = [{"a": 9}, {"a": 8}]


def run(project: Scripted, *args: str, status: int = 0) -> str:
    done = project.looper("run", str(project.target), "--proposer", "steps", "--slots", "1", *args, status=status)
    return done.stdout + done.stderr


def install(folder: Path, name: str, group: str, value: str) -> Path:
    """A folder as an installer leaves it, with a package ``name`` that has one entry point."""
    site = folder / "site-packages"
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    return site


def looper(project: Scripted, site: Path, cwd: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = project.environment(PYTHONPATH=f"{ROOT}:{site}")
    done = subprocess.run([*COMMAND, *args], cwd=cwd, env=env, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done


# -- hooks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def looper_experiment(experiment)", "def looper_experimnt(experiment)", ["looper_experimnt", "hooks are"]),
        ("def looper_experiment(experiment)", "def looper_experiment(experimnt)", ["looper_experiment", "experimnt"]),
        ("@looper.hookimpl\ndef looper_target", "def looper_target", ["@looper.hookimpl above it"]),
        ("    return Target(\n", "    return dict(\n", ["returned a dict", "looper.Target"]),
        (
            "    return Target(\n",
            "    return Target(\n        nmae=1,\n",
            ["looper_target() failed", "'nmae'", "line "],
        ),
        ("import looper\n", "import looper\nimport loper\n", ["No module named 'loper'", "target.py"]),
        ('name="bowl"', 'name="a bowl"', ["'a bowl'", "must be letters"]),
        ('"ended": str(ENDED)', '"ended": ENDED', ["settings of the target bowl", "PosixPath"]),
        ('editable=("point.txt",)', 'editable=("point.md",)', ["no file point.md"]),
        ('editable=("point.txt",)', 'editable="point.txt"', ["is a tuple of paths"]),
        ('editable=("point.txt",)', 'editable=("../point.txt",)', ["'../point.txt'", "plain path below"]),
        ('editable=("point.txt",)', 'editable=("evaluate.py",)', ["evaluate.py", "cannot be editable"]),
        ('Metric("loss", min_delta=0.5)', 'Metric("loss", min_delta=-1)', ["min_delta", "-1"]),
    ],
)
def test_what_is_wrong_with_a_target_is_said_before_anything_is_made(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    project = Scripted(tmp_path)
    project.edit("target.py", old, new)
    with pytest.raises(LooperError) as refused:
        cli(["run", str(project.target), "--proposer", "steps"], standalone_mode=False)
    for words in said:
        assert words in str(refused.value)
    assert not list(project.home.glob(".looper/*/ledger.jsonl"))


def test_no_target_there(tmp_path: Path) -> None:
    project = Scripted(tmp_path)
    done = project.looper("run", "bwol", "--depth", "3", status=2)
    assert "no target 'bwol'" in done.stderr
    done = project.looper("run", ".", status=2)
    assert "no target.py" in done.stderr


def test_facts_must_be_text(tmp_path: Path) -> None:
    project = Scripted(tmp_path)
    hook = "@looper.hookimpl\ndef looper_prepare():\n    return {'rows': 3}\n\n\nclass Script("
    project.edit("target.py", "class Script(", hook)
    assert "'rows': 3" in run(project, status=2)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("looper_judge():\n    return 'keep'", ["looper_judge() returned 'keep'"]),
        ("looper_judge():\n    return 1 / 0", ["looper_judge() failed", "ZeroDivisionError"]),
    ],
)
def test_a_judge_that_fails_ends_the_session_resumably(tmp_path: Path, hook: str, said: list[str]) -> None:
    project = Scripted(tmp_path, BETTER)
    target = (project.target / "target.py").read_text()
    project.edit("target.py", "class Script(", f"@looper.hookimpl\ndef {hook}\n\n\nclass Script(")
    text = run(project, status=2)
    for words in said:
        assert words in text
    record = project.record()
    assert record.closed.startswith("failed: looper_judge()")
    assert list(record.measured) == [1]
    project.write("target.py", target)
    assert "target.py was changed" in run(project, status=2)


def test_a_judge_of_the_targets_own_decides(tmp_path: Path) -> None:
    project = Scripted(tmp_path, [{"a": 11}, {"a": 9}])
    hook = "looper_judge(champion, measurement):\n    worse = measurement.metrics['loss'] > champion.metrics['loss']\n"
    hook += "    return looper.models.Decision('keep' if worse else 'discard', 'upside down', 1e999)"
    project.edit("target.py", "class Script(", f"@looper.hookimpl\ndef {hook}\n\n\nclass Script(")
    run(project)
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "discard")]
    assert [each.gain for each in project.record().history[1:]] == [None, None]


def test_a_notification_that_fails_is_mentioned_and_no_more(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    project.edit("target.py", "(ENDED / str(experiment.n)).touch()", "1 / 0")
    text = run(project)
    assert text.count("looper_experiment() failed: ZeroDivisionError") == 1
    assert project.verdicts() == [(1, 1, "keep"), (2, 1, "keep")]


# -- the baseline ---------------------------------------------------------------------------------------------


def test_a_baseline_without_a_score_is_explained_and_can_be_mended(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    evaluate = (project.target / "evaluate.py").read_text()
    faults = [
        ("def evaluate", "def evalute", ["no attribute 'evaluate'"]),
        ("run.report(loss=", 'print("what went before")\n    run.report(los=', ["'loss'", "los", "what went before"]),
        ("    run.report(", "    return\n    run.report(", ["run.report()"]),
        ("    run.report(", "    raise ValueError('no scale')\n    run.report(", ["ValueError: no scale", "line "]),
        ("import time\n", "import tiem\n", ["No module named 'tiem'"]),
        ("run.report(loss=", "run.report(loss=1e999 + ", ["inf"]),
    ]
    for old, new, said in faults:
        project.edit("evaluate.py", old, new)
        command = [*COMMAND, "run", str(project.target), "--proposer", "steps", "--slots", "1"]
        done = subprocess.run(command, cwd=project.top, env=project.environment(), capture_output=True, text=True)
        assert done.returncode == 2
        assert "looper/cli" not in done.stderr  # the evaluator's own traceback is in it, and none of looper's
        for words in ("The baseline of bowl", "Mend evaluate.py", *said):
            assert words in done.stderr
        assert project.record().closed.startswith("failed: The baseline of bowl")
        project.write("evaluate.py", evaluate)
    run(project)
    history = project.record().history
    assert [(each.n, each.attempt, each.verdict) for each in history] == [
        *((0, attempt, "crash") for attempt in range(1, 7)), (0, 7, "keep"), (1, 1, "keep"), (2, 1, "keep"),
    ]  # fmt: skip
    assert project.git("rev-parse", "refs/looper/bowl/tried/0").strip() == history[6].commit
    assert project.git("rev-parse", "looper/bowl").strip() == history[-1].head


# -- installed ------------------------------------------------------------------------------------------------


def test_an_installed_target_works_from_anywhere(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER, in_git=False)
    site = install(tmp_path, "bowls", "looper.targets", "bowls.target")
    shutil.copytree(project.target, site / "bowls")
    (site / "bowls" / "__init__.py").touch()
    for name in ("here", "there"):
        cwd = tmp_path / name
        cwd.mkdir()
        done = looper(project, site, cwd, "run", "bowls", "--proposer", "steps", "--experiments", "1", "--slots", "1")
        assert done.returncode == 0, done.stderr
        assert (cwd / ".looper" / "bowl" / "ledger.jsonl").exists()
        command = ["git", "--git-dir=.looper/repo.git", "show", "looper/bowl:point.txt"]
        assert "a=9" in subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout
    assert not (site / "bowls" / ".looper").exists()
    done = looper(project, site, tmp_path, "run", "bolws")
    assert "Installed: bowls." in done.stderr


def test_an_installed_target_that_is_no_module(tmp_path: Path) -> None:
    project = Scripted(tmp_path)
    for value, said in (("json:dumps", "must name a module"), ("nowhere.target", "No module named 'nowhere'")):
        site = install(tmp_path / value.replace(":", "."), "bowls", "looper.targets", value)
        done = looper(project, site, project.top, "run", "bowls")
        assert done.returncode == 2
        assert said in done.stderr


def test_an_extension_is_always_on(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    site = install(tmp_path, "extra", "looper", "extra")
    (site / "extra.py").write_text(
        "import looper\n\n\n"
        "@looper.hookimpl\ndef looper_options():\n    return [looper.Option('extra_word', 'none', 'A word.')]\n\n\n"
        "@looper.hookimpl\ndef looper_prepare():\n    return {'extra': 'on'}\n"
    )
    args = ("run", str(project.target), "--proposer", "steps", "--experiments", "1")
    done = looper(project, site, project.top, *args, "--extra-word", "some")
    assert done.returncode == 0, done.stderr
    opened = project.events()[0]
    assert (opened["identity"]["facts"], opened["options"]["extra_word"]) == ({"extra": "on"}, "some")
    done = looper(project, site, project.top, "run", str(project.target), "--help")
    assert "--extra-word" in done.stdout
    # without it the measurements are others
    assert "facts: extra" in run(project, status=2)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere\n", "The plugin extra (extra) failed: ModuleNotFoundError"),
        ("import looper\n@looper.hookimpl\ndef looper_verdict():\n    pass\n", "In the plugin extra:"),
        (
            "import looper\n@looper.hookimpl\ndef looper_options():\n    return [looper.Option('tag', '', '')]\n",
            "--tag",
        ),
    ],
)
def test_an_extension_that_is_broken_is_named(tmp_path: Path, code: str, said: str) -> None:
    project = Scripted(tmp_path, BETTER)
    site = install(tmp_path, "extra", "looper", "extra")
    (site / "extra.py").write_text(code)
    done = looper(project, site, project.top, "run", str(project.target))
    assert done.returncode == 2
    assert said in done.stderr
