"""``looper check`` on targets with candidates that are refused, and with some that are not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.projects import ROOT, Project, wait_until


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_example_refuses_all_of_its_wrong_candidates(project: Project) -> None:
    done = project.looper("check", str(ROOT / "examples" / "quadratic"), status=0)
    for line in ("wrong/nan.py  invalid: ", "wrong/text.py  invalid: ", "wrong/endless.py  timeout: "):
        assert f"ok           {line}" in done.stdout
    assert "the unedited files: loss 9 in " in done.stdout
    assert "tries: Wrong: text where a number belongs." in done.stdout
    assert done.stdout.splitlines()[-1] == "All 3 wrong candidates are refused."
    assert done.stderr == ""


def test_candidate_that_is_not_refused(project: Project) -> None:
    project.write("wrong/good.py", "# Simply better.\ndef answer():\n    return 3.0\n")
    project.write("wrong/crash.py", "raise SystemExit('no')\n")
    done = project.looper("check", "bowl", status=1)
    assert "NOT REFUSED  wrong/good.py  scored: loss 0; the unedited files have 9\n" in done.stdout
    assert "             tries: Simply better.\n" in done.stdout
    assert "ok           wrong/crash.py  crash: " in done.stdout
    assert done.stdout.splitlines()[-1] == "1 of 2 wrong candidates were not refused: look at wrong/good.py."


def test_candidates_that_may_run_but_not_gain(project: Project) -> None:
    project.write("wrong/same.py", "# expect: no gain\n# As good.\ndef answer():\n    return 6.0\n")
    project.write("wrong/better.py", "# expect: no gain\ndef answer():\n    return 2.0\n")
    project.write("wrong/crash.py", "# expect: no gain\nraise SystemExit('no')\n")
    found = json.loads(project.looper("check", "bowl", "--json", status=1).stdout)
    assert (found["target"], found["metric"], found["ok"]) == ("bowl", "loss", False)
    assert (found["baseline"]["status"], found["baseline"]["value"]) == ("ok", 9.0)
    wrong = {row["file"]: row for row in found["wrong"]}
    assert {name: row["ok"] for name, row in wrong.items()} == {
        "wrong/same.py": True,
        "wrong/better.py": False,
        "wrong/crash.py": True,
    }
    assert wrong["wrong/same.py"]["tries"] == "As good."
    assert (wrong["wrong/better.py"]["outcome"], wrong["wrong/better.py"]["value"]) == ("scored", 1.0)
    assert (wrong["wrong/crash.py"]["outcome"], wrong["wrong/crash.py"]["value"]) == ("crash", None)


def test_folder_that_replaces_several_files(project: Project) -> None:
    project.write("wrong/both/solution.py", '"""Two files."""\nfrom fine import answer\n')
    project.write("wrong/both/fine.py", "def answer():\n    return 'from the other file'\n")
    project.write("wrong/both/README.md", "Why it is wrong.\n")
    found = json.loads(project.looper("check", "bowl", "--json", status=0).stdout)["wrong"]
    assert [(row["file"], row["outcome"]) for row in found] == [("wrong/both", "invalid")]


def test_evaluator_that_fails_by_itself_has_refused_nothing(project: Project) -> None:
    project.write("wrong/thirteen.py", "def answer():\n    return 13.0\n")
    done = project.looper("check", "bowl", status=1)
    assert "FAILED       wrong/thirteen.py  failed: the evaluator itself failed: " in done.stdout
    assert "did not expect 13" in done.stdout


def test_unedited_files_that_do_not_run(project: Project) -> None:
    project.write("solution.py", "def answer():\n    print('before the end')\n    raise SystemExit('broken')\n")
    project.write("wrong/text.py", "def answer():\n    return 'text'\n")
    done = project.looper("check", "bowl", status=1)
    assert "FAILED       the unedited files have no score (crash): " in done.stdout
    assert "│ before the end" in done.stdout
    assert done.stdout.splitlines()[-1] == "The target does not work as it is: mend that first."
    found = json.loads(project.looper("check", "bowl", "--json", status=1).stdout)
    assert (found["ok"], found["baseline"]["value"], found["wrong"]) == (False, None, [])


def test_target_without_wrong_candidates(project: Project) -> None:
    done = project.looper("check", "bowl", status=0)
    assert "There is nothing in wrong/: add candidates" in done.stdout


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("wrong/same.py", None, "wrong/same.py of the target bowl is the same as the unedited files"),
        ("wrong/odd.py", "# expect: trouble\n", "wrong/odd.py of the target bowl expects 'trouble'"),
        ("wrong/a/target.py", "", "wrong/a/target.py of the target bowl replaces no editable file"),
        ("wrong/notes.txt", "", "wrong/notes.txt of the target bowl cannot take the place of solution.py"),
    ],
)
def test_mistakes_in_the_folder(project: Project, path: str, text: str | None, message: str) -> None:
    project.write(path, (project.target / "solution.py").read_text() if text is None else text)
    assert message in project.looper("check", "bowl", status=2).stderr


def test_options_of_the_target(project: Project) -> None:
    found = json.loads(project.looper("check", "bowl", "--pause", "0.4", "--json", status=0).stdout)
    assert found["baseline"]["total_s"] >= 0.4
    assert "--pause" in project.looper("check", "bowl", "--help", status=0).stdout


def test_file_that_git_ignores(project: Project) -> None:
    project.git("rm", "--quiet", "--cached", "bowl/fine.py")
    project.write(".gitignore", "fine.py\n")
    assert "git ignores fine.py of the target bowl" in project.looper("check", "bowl", status=2).stderr


def test_target_in_no_repository_is_left_as_it_is(tmp_path: Path) -> None:
    project = Project(tmp_path, in_git=False)
    project.write("wrong/text.py", "def answer():\n    return 'text'\n")
    before = sorted(project.target.rglob("*"))
    project.looper("check", str(project.target), cwd=tmp_path, status=0)
    assert sorted(project.target.rglob("*")) == before


def test_nothing_is_left_behind(project: Project) -> None:
    child = "import subprocess\nchild = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    project.write("wrong/child.py", f"{child}def answer():\n    return 'text'\n")
    before = project.git("status", "--porcelain"), project.git("for-each-ref")
    project.looper("check", "bowl", status=0)
    assert (project.git("status", "--porcelain"), project.git("for-each-ref")) == before
    assert not (project.top / ".looper").exists()
    wait_until(lambda: not project.processes(), "the evaluators' end")
    assert os.listdir(project.scratch) == []
