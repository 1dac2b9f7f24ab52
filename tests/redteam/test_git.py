"""Attacks through git: what a repository and its surroundings tell git to run, to follow, or to take for another.

Every session here ends with the same question: are the candidates' commits byte for byte what was evaluated, has
nothing run, and is everything as it was that is not looper's?
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.redteam.repository import plain_git, run, told, users_own
from tests.scripted import POINT, Scripted

ODD = POINT.replace("\n", "\r\n").replace(".", "$Id$ \u00e4", 1) + "no line feed at the end \t"


def check_evaluated(project: Scripted) -> None:
    """Two changes were kept, and each commit has the very bytes that the evaluator read."""
    assert [verdict for *_, verdict in project.verdicts()] == ["keep", "keep"]
    for event in project.events():
        if event["event"] == "measured":
            digest = next(line.split()[1] for line in event["log"] if line.startswith("evaluated"))
            blob = plain_git(project, "cat-file", "blob", f"refs/looper/bowl/tried/{event['n']}:bowl/point.txt")
            assert hashlib.sha256(blob).hexdigest() == digest
    assert plain_git(project, "cat-file", "blob", "looper/bowl:bowl/point.txt") == blob


def program(project: Scripted) -> tuple[Path, Path]:
    """A program, and the file that it makes when it is run."""
    ran, script = project.top.parent / "ran", project.top.parent / "script"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >> {ran}\n/bin/cat\n')
    script.chmod(0o755)
    return script, ran


def configure(project: Scripted, **settings: object) -> None:
    """``core__pager`` is ``core.pager``."""
    for key, value in settings.items():
        name = key.replace("__", ".")
        subprocess.run(["git", "config", "--file", ".git/config", name, str(value)], cwd=project.top, check=True)


# -- what git runs and reads ----------------------------------------------------------------------------------------


def fsmonitor(project: Scripted, script: Path) -> None:
    configure(project, core__fsmonitor=script)


def hooks(project: Scripted, script: Path) -> None:
    folder = project.top / ".git" / "hooks"
    folder.mkdir(exist_ok=True)
    for name in ("reference-transaction", "post-index-change", "post-commit", "pre-auto-gc", "update", "post-checkout"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(script)
    configure(project, core__hooksPath=str(folder))


def filters(project: Scripted, script: Path) -> None:
    (project.target / ".gitattributes").write_text("* filter=own diff=own merge=own\n")
    for name in ("filter.own.clean", "filter.own.smudge", "filter.own.process", "diff.own.textconv"):
        configure(project, **{name: script})
    configure(project, merge__own__driver=script, filter__own__required="true")


def attributes(project: Scripted, script: Path) -> None:
    lines = "* text=auto eol=crlf ident working-tree-encoding=UTF-16 export-subst\n"
    (project.top / ".gitattributes").write_text(lines)
    (project.top / ".git" / "info").mkdir(exist_ok=True)
    (project.top / ".git" / "info" / "attributes").write_text(lines)
    configure(project, core__autocrlf="true", core__eol="crlf")


def includes(project: Scripted, script: Path) -> None:
    more = project.top.parent / "more"
    more.write_text(f"[core]\nfsmonitor = {script}\nhooksPath = {script.parent}\nautocrlf = true\n")
    configure(project, include__path=more)
    configure(project, **{f"includeIf.gitdir:{project.top}/.path": more})


def programs(project: Scripted, script: Path) -> None:
    configure(
        project, core__pager=script, core__editor=script, gpg__program=script, commit__gpgSign="true",
        diff__external=script, core__sshCommand=script, credential__helper=script,
        core__alternateRefsCommand=script, interactive__diffFilter=script,
    )  # fmt: skip


def promised_objects(project: Scripted, script: Path) -> None:
    """Objects that are missing are fetched, by a program of the repository's choice."""
    configure(
        project, core__repositoryformatversion="1", extensions__partialClone="origin", remote__origin__promisor="true",
        remote__origin__url=f"ext::{script}", protocol__ext__allow="always", protocol__allow="always",
    )  # fmt: skip
    assert run(project, "--experiments", "0").returncode == 0
    base = project.record().opened["base"]
    lost = project.top / ".git" / "objects" / base[:2] / base[2:]
    aside = lost.rename(project.top.parent / base)
    assert "is not in the repository" in run(project).stderr
    assert not (project.top.parent / "ran").exists()
    aside.rename(lost)


def nested_repository(project: Scripted, script: Path) -> None:
    inner = project.target / "inner"
    subprocess.run(["git", "init", "--quiet", str(inner)], check=True)
    (inner / ".git" / "config").write_text(f"[core]\n\tfsmonitor = {script}\n\tworktree = ..\n")
    (project.target / ".gitignore").write_text("inner/\n")


def replaced(project: Scripted, script: Path) -> None:
    """What git shows for the champion's file, and for its commit, is something else."""
    assert run(project, "--experiments", "0").returncode == 0
    base = project.record().opened["base"]
    evil = project.git("hash-object", "-w", "--stdin", data="a=0\nafter=\nb=0\n").strip()
    project.git("replace", project.git("rev-parse", f"{base}:bowl/point.txt").strip(), evil)
    project.git("replace", base, project.git("rev-parse", "main~1").strip())


def grafted(project: Scripted, script: Path) -> None:
    head, first = project.git("rev-parse", "HEAD").strip(), project.git("rev-parse", "HEAD~1").strip()
    (project.top / ".git" / "info").mkdir(exist_ok=True)
    (project.top / ".git" / "info" / "grafts").write_text(f"{head}\n{first} {head}\n")


def alternate(project: Scripted, script: Path) -> None:
    """Another store beside this one, in which the editable file's name stands for something else."""
    blob = project.git("rev-parse", "HEAD:bowl/point.txt").strip()
    other = project.top.parent / "other" / blob[:2]
    other.mkdir(parents=True)
    (other / blob[2:]).write_bytes(zlib.compress(b"blob 4\0a=0\n"))
    (project.top / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (project.top / ".git" / "objects" / "info" / "alternates").write_text(f"{other.parent}\n")


SURROUNDED: list[Callable[[Scripted, Path], None]] = [
    fsmonitor, hooks, filters, attributes, includes, programs, promised_objects, nested_repository, replaced, grafted,
    alternate,
]  # fmt: skip


@pytest.mark.parametrize("attack", SURROUNDED, ids=lambda attack: attack.__name__)
def test_nothing_runs_and_no_byte_changes_with(tmp_path: Path, attack: Callable[[Scripted, Path], None]) -> None:
    project = told(tmp_path)
    (project.target / "point.txt").write_bytes(ODD.encode())
    script, ran = program(project)
    attack(project, script)
    before = users_own(project)
    ran.unlink(missing_ok=True)
    done = run(project)
    assert done.returncode == 0, done.stderr
    assert not ran.exists(), ran.read_text()
    assert users_own(project) == before
    check_evaluated(project)


VARIABLES = {
    "GIT_DIR": "{other}/.git", "GIT_WORK_TREE": "{other}", "GIT_INDEX_FILE": "{other}/index", "GIT_NAMESPACE": "other",
    "GIT_OBJECT_DIRECTORY": "{other}/objects", "GIT_ALTERNATE_OBJECT_DIRECTORIES": "{other}/objects",
    "GIT_COMMON_DIR": "{other}/.git", "GIT_CEILING_DIRECTORIES": "{top}", "GIT_EXEC_PATH": "{bin}",
    "GIT_SSH_COMMAND": "{script}", "GIT_EXTERNAL_DIFF": "{script}", "GIT_PAGER": "{script}", "GIT_EDITOR": "{script}",
    "GIT_ASKPASS": "{script}", "GIT_PROXY_COMMAND": "{script}", "GIT_TEMPLATE_DIR": "{bin}", "GIT_TRACE": "{ran}",
    "GIT_TRACE2_EVENT": "{ran}", "GIT_GRAFT_FILE": "{script}", "GIT_SHALLOW_FILE": "{script}",
    "GIT_LITERAL_PATHSPECS": "1", "GIT_ICASE_PATHSPECS": "1", "GIT_REPLACE_REF_BASE": "refs/heads/",
    "GIT_DEFAULT_HASH": "sha256",
    "GIT_CONFIG_PARAMETERS": "'core.fsmonitor'='{script}'", "GIT_AUTHOR_NAME": "Mallory", "GIT_ATTR_SOURCE": "HEAD",
    "GIT_CONFIG_GLOBAL": "{config}", "GIT_CONFIG_SYSTEM": "{config}",
}  # fmt: skip


@pytest.mark.parametrize("name", VARIABLES)
def test_nothing_of_git_reaches_looper_or_an_evaluator_from_the_variable(tmp_path: Path, name: str) -> None:
    project = told(tmp_path)
    script, ran = program(project)
    other, folder, config = tmp_path / "other", tmp_path / "bin", tmp_path / "config"
    subprocess.run(["git", "init", "--quiet", str(other)], check=True)
    folder.mkdir()
    for tool in ("git", "git-ls-files", "git-fast-import", "git-cat-file", "git-config"):
        (folder / tool).symlink_to(script)
    config.write_text(
        f"[core]\n\tfsmonitor = {script}\n\thooksPath = {folder}\n\tautocrlf = true\n[commit]\n\tgpgSign = true\n"
    )
    places = {"other": other, "top": project.top, "bin": folder, "script": script, "ran": ran, "config": config}
    before = users_own(project)
    done = run(project, **{name: VARIABLES[name].format(**places)})
    assert done.returncode == 0, done.stderr
    assert not ran.exists(), ran.read_text()
    assert users_own(project) == before
    check_evaluated(project)
    words = " ".join(line for event in project.events() for line in event.get("log", ()) if line.startswith("told"))
    assert "PATH" in words
    assert "GIT_" not in words
    assert not [path for path in other.rglob("*") if path.is_file() and "looper" in path.read_text(errors="replace")]


def test_no_folder_of_an_evaluator_leads_to_the_history(tmp_path: Path) -> None:
    project = told(tmp_path)
    assert run(project).returncode == 0
    found = {line for event in project.events() for line in event.get("log", ()) if line.startswith("found")}
    assert "found plain point.txt" in found
    assert not [line for line in found if re.search(r"^found link|\.git|\.looper|ledger", line)]
