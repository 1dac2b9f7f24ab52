"""The report is made on this machine as it is, and in processes from which something was taken away."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from looper import doctor
from looper.doctor import Check

REPORT = "from looper import doctor; print(doctor.to_json(doctor.checks()))"


def report(env: dict[str, str]) -> dict[str, dict[str, str]]:
    """The report of a process with ``env`` over this one's environment, by the check's name."""
    answer = subprocess.run(
        [sys.executable, "-c", REPORT], env=os.environ | env, capture_output=True, text=True, check=True
    )
    return {check["name"]: check for check in json.loads(answer.stdout)}


def test_every_check_is_ok_or_says_what_to_do() -> None:
    found = doctor.checks()
    names = [check.name for check in found]
    assert len(set(names)) == len(names)
    assert {"Python", "git", "processor", "memory", "GPU", "torch", "clock", "cache folder"} <= set(names)
    assert any(name.startswith("isolation: ") for name in names)
    for check in found:
        assert check.found, check
        assert bool(check.advice) == (check.state != "ok"), check


def test_git_missing(tmp_path: Path) -> None:
    git = report({"PATH": str(tmp_path)})["git"]
    assert git["state"] == "fails"
    assert "apt install git" in git["advice"]


def test_cache_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = report({"LOOPER_CACHE": str(tmp_path / "file" / "below")})["cache folder"]
    assert cache["state"] == "fails"
    assert f"{tmp_path / 'file'} " in cache["advice"]


def test_cache_folder_is_looked_at_and_not_made(tmp_path: Path) -> None:
    cache = report({"LOOPER_CACHE": "", "XDG_CACHE_HOME": str(tmp_path / "new")})["cache folder"]
    assert (cache["state"], cache["found"]) == ("ok", str(tmp_path / "new" / "looper"))
    assert list(tmp_path.iterdir()) == []


def test_package_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert doctor.package("optuna") == Check("optuna", "missing", "not installed", "pip install 'looper-lab[search]'")


@pytest.mark.parametrize("width", [60, 200])
def test_table_shows_all_of_it(width: int) -> None:
    found = [
        Check("Python", "ok", "3.11.7"),
        Check("optuna", "missing", "not installed", "pip install 'looper-lab[search]'"),
    ]
    shown = io.StringIO()
    doctor.render(found, Console(file=shown, width=width))
    words = shown.getvalue().split()
    for word in ("Python", "ok", "3.11.7", "optuna", "missing", "'looper-lab[search]'"):
        assert word in words
    assert shown.getvalue().rstrip().endswith("looper runs here.")


def test_table_names_what_stops_looper() -> None:
    shown = io.StringIO()
    found = [Check("git", "fails", "does not run", "Install git."), Check("Python", "ok", "3.11.7")]
    doctor.render(found, Console(file=shown, width=100))
    assert shown.getvalue().rstrip().endswith("looper cannot run here: see git.")
