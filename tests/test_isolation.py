"""Which isolation a session gets by the command line, and which it refuses to run with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from looper import sandbox
from looper.isolation import Isolation, Wish, choose
from looper.sandbox import Level, Probe, bwrap
from tests.measuring import backends, best
from tests.modes import no_namespaces
from tests.projects import COMMAND, NAME, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def isolation_of(project: Project, tag: str = NAME) -> list[dict[str, str]]:
    """What each opening of the session said."""
    return [event["identity"]["isolation"] for event in project.events(tag) if event["event"] == "opened"]


def without_namespaces(project: Project, *args: str) -> subprocess.CompletedProcess[str]:
    """A looper command where only Landlock works."""
    command = [*no_namespaces(), *COMMAND, *args]
    return subprocess.run(command, cwd=project.top, env=project.environment(), capture_output=True, text=True)


def test_without_a_word_it_is_the_best_and_every_measurement_says_so(project: Project) -> None:
    project.run(experiments=1)
    level = sandbox.BACKENDS[best()].level.name.lower()
    assert level == "namespaces"
    assert isolation_of(project) == [{"sandbox": best(), "level": level}]
    facts = [event["facts"] for event in project.events() if event["event"] == "measured"]
    assert [(fact["isolation"], fact["level"]) for fact in facts] == [(best(), level)] * 2
    assert all("seccomp" in fact["layers"] for fact in facts)


@pytest.mark.parametrize("command", [["run", NAME, "--proposer", "steps", "--experiments", "0"], ["check", NAME]])
def test_where_less_works_nothing_runs_unless_that_is_accepted(project: Project, command: list[str]) -> None:
    done = without_namespaces(project, *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "this machine does not isolate them at level namespaces" in done.stderr
    assert done.stderr.count("or run with --min-level landlock") == 1
    for name in ("bwrap", "native"):
        assert f"\n  {name}: " in done.stderr
    assert "--unsafe-no-sandbox none at all" in done.stderr
    assert not project.ledger().exists()

    done = without_namespaces(project, *command, "--min-level", "landlock")
    assert done.returncode == 0, done.stderr
    assert command[0] == "check" or isolation_of(project) == [{"sandbox": "landlock", "level": "landlock"}]


@pytest.mark.parametrize("name", [name for name in backends() if sandbox.BACKENDS[name].level >= Level.NAMESPACES])
def test_a_sandbox_by_name(project: Project, name: str) -> None:
    project.run("--sandbox", name, experiments=0)
    assert isolation_of(project) == [{"sandbox": name, "level": "namespaces"}]


def test_a_sandbox_below_the_least_level_has_to_be_accepted(project: Project) -> None:
    run = ["run", NAME, "--proposer", "steps", "--experiments", "0", "--sandbox", "landlock"]
    said = project.looper(*run, status=2).stderr
    assert "--sandbox landlock is of a lower level than namespaces" in said
    assert "--min-level landlock" in said
    project.looper(*run, "--min-level", "landlock", status=0)
    assert isolation_of(project) == [{"sandbox": "landlock", "level": "landlock"}]


def test_none_at_all_is_asked_for_by_its_name(project: Project) -> None:
    run = ["run", NAME, "--proposer", "steps", "--experiments", "0"]
    assert "process" in project.looper(*run, "--sandbox", "process", status=2).stderr
    assert "process" in project.looper(*run, "--min-level", "process", status=2).stderr
    assert "asks for" in project.looper(*run, "--sandbox", "native", "--unsafe-no-sandbox", status=2).stderr
    project.looper(*run, "--unsafe-no-sandbox", status=0)
    assert isolation_of(project) == [{"sandbox": "process", "level": "process"}]


def test_a_session_goes_on_at_its_own_level_only(project: Project) -> None:
    project.run("--sandbox", "native", experiments=1)
    lower = ["--sandbox", "landlock", "--min-level", "landlock"]
    for options in (lower, ["--unsafe-no-sandbox"]):
        said = project.looper("run", NAME, "--proposer", "steps", *options, status=2).stderr
        assert "isolation level: it was namespaces, now it is " in said
        assert "--fresh" in said
    assert len(isolation_of(project)) == 1


@pytest.mark.skipif("bwrap" not in backends(), reason="bubblewrap does not work here")
def test_a_session_goes_on_with_another_sandbox_of_the_same_level(project: Project) -> None:
    project.run("--sandbox", "native", experiments=1)
    project.run("--sandbox", "bwrap", experiments=1)
    assert [each["sandbox"] for each in isolation_of(project)] == ["native", "bwrap"]
    assert len(project.record().history) == 3


def test_choice_by_wish() -> None:
    assert choose(Wish()) == Isolation(best(), "namespaces")
    assert choose(Wish(unsafe=True)) == Isolation("process", "process")


@pytest.mark.parametrize(
    ("name", "fault", "said"),
    [
        ("native", "OSError: [Errno 28] unshare: No space left on device", "forbids new namespaces"),
        ("native", "OSError: [Errno 1] unshare: Operation not permitted", "forbids new namespaces"),
        ("bwrap", "bwrap: setting up uid map: Permission denied", "AppArmor"),
        ("bwrap", "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "AppArmor"),
        ("native", "the worker got at: files", "the worker got at: files"),
    ],
)
def test_the_reason_why_a_backend_does_not_work(name: str, fault: str, said: str) -> None:
    if name == "bwrap" and bwrap.program() is None:
        said = "bubblewrap is not installed"
    layer = sandbox.explain(Probe(name, Level.NAMESPACES, (), fault))
    assert not layer.on
    assert said in layer.why
    assert fault in layer.why
    assert bool(layer.fix) == (said != fault)


def test_a_backend_that_works_needs_no_advice() -> None:
    assert sandbox.explain(sandbox.probe(best())) == sandbox.Layer(best(), True, "at level namespaces")


def test_probes_leave_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in backends():
        sandbox.probe(name)
    assert len(os.listdir("/proc/self/fd")) == before
