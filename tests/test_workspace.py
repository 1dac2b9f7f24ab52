"""The user's repository, in every state that one may find it in: used, and left exactly as it was."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.projects import COMMAND
from tests.scripted import POINT, Scripted

BETTER = [{"a": 9}, {"a": 8}, {"a": 7}]


def run(project: Scripted, target: Path, *args: str, cwd: Path | None = None, status: int = 0) -> str:
    asked = ("--proposer", "steps", "--slots", "1", "--experiments", "2")
    done = project.looper("run", str(target), *asked, *args, cwd=cwd, status=status)
    return done.stdout + done.stderr


def git(folder: Path, *args: str) -> str:
    command = ["git", "-c", "user.name=somebody", "-c", "user.email=somebody@localhost", *args]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def fingerprint(top: Path) -> dict[str, str]:
    """Everything of a checkout that looper must leave alone: files, index, HEAD, its reflog, the configuration."""
    git_dir = Path(git(top, "rev-parse", "--absolute-git-dir").strip())
    names = [git_dir / name for name in ("index", "HEAD", "config", "logs/HEAD", "packed-refs")]
    names += [path for path in top.rglob("*") if path.is_file() and not {".git", ".looper"} & set(path.parts)]
    found = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in names if path.exists()}
    status = subprocess.run(["git", "--no-optional-locks", "status", "--porcelain"], cwd=top, capture_output=True)
    return found | {"status": status.stdout.decode()}


def check_champion(top: Path, git_dir: Path | None = None, path: str = "bowl/point.txt", old: str = POINT) -> None:
    """Two proposals were kept, the branch has them on top of each other, byte for byte."""
    options = [f"--git-dir={git_dir}"] if git_dir else []
    command = ["git", *options, "cat-file", "blob", f"looper/bowl:{path}"]
    found = subprocess.run(command, cwd=top, check=True, capture_output=True).stdout
    assert found.decode() == old.replace("a=10", "a=8")
    assert git(top, *options, "log", "--format=%an <%ae>", "-2", "looper/bowl") == "looper <looper@localhost>\n" * 2
    git(top, *options, "fsck", "--strict", "--no-dangling", "looper/bowl")


# -- states of a repository -----------------------------------------------------------------------------------


def dirty(project: Scripted) -> None:
    project.write("point.txt", POINT + "# mine\n")
    project.write("new.txt", "staged, then changed\n")
    project.git("add", "bowl/new.txt")
    project.write("new.txt", "changed\n")
    (project.top / "other.txt").write_text("untracked\n")
    project.git("rm", "--quiet", "--cached", "bowl/program.md")


def detached(project: Scripted) -> None:
    project.git("switch", "--quiet", "--detach")


def unborn(project: Scripted) -> None:
    project.git("switch", "--quiet", "--orphan", "empty")
    project.git("restore", "--source=main", "--worktree", ".")


def with_submodule(project: Scripted) -> None:
    project.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./.git", "part")
    project.git("commit", "--quiet", "-m", "A part")


def in_the_middle_of_a_merge(project: Scripted) -> None:
    project.git("switch", "--quiet", "-c", "side", "HEAD~1")
    project.write("point.txt", "other\n")
    project.commit("side")
    project.git("switch", "--quiet", "main")
    merge = ["git", "-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "merge", "side"]
    assert subprocess.run(merge, cwd=project.top, capture_output=True).returncode == 1
    assert project.git("ls-files", "--unmerged")
    project.write("point.txt", POINT)


@pytest.mark.parametrize("state", [dirty, detached, unborn, with_submodule, in_the_middle_of_a_merge])
def test_the_checkout_stays_as_it_is(tmp_path: Path, state: Callable[[Scripted], None]) -> None:
    project = Scripted(tmp_path, BETTER)
    state(project)
    before = fingerprint(project.top)
    run(project, project.target)
    assert fingerprint(project.top) == before
    check_champion(project.top, old=(project.target / "point.txt").read_text())


def test_what_was_evaluated_is_what_lies_on_the_disk_not_in_the_commit(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    project.write("point.txt", POINT.replace("b=10", "b=1"))
    run(project, project.target)
    assert project.record().baseline.metrics["loss"] == 11.0  # type: ignore[union-attr]
    base = project.record().opened["base"]
    assert project.git("rev-parse", f"{base}^") == project.git("rev-parse", "main")
    assert project.git("diff", "--name-only", "main", base).split() == ["bowl/point.txt"]


def test_a_shallow_clone(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{project.top}", str(clone))
    before = fingerprint(clone)
    run(project, clone / "bowl", cwd=clone)
    assert fingerprint(clone) == before
    check_champion(clone)


def test_a_linked_worktree_has_sessions_of_its_own(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    linked = tmp_path / "linked"
    project.git("worktree", "add", "--quiet", "--detach", str(linked))
    before = fingerprint(linked)
    run(project, linked / "bowl", cwd=linked)
    assert fingerprint(linked) == before
    check_champion(linked)
    assert (linked / ".looper" / "bowl" / "ledger.jsonl").exists()
    # the branches are shared: the same name in the main checkout would be the other session's branch
    assert "has a branch looper/bowl" in run(project, project.target, status=2)
    run(project, project.target, "--fresh")
    assert project.record("bowl-2").next_n == 3


def test_a_repository_of_sha256(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER, in_git=False)
    project.git("init", "--quiet", "--initial-branch=main", "--object-format=sha256")
    head = project.commit("A bowl")
    run(project, project.target)
    check_champion(project.top)
    ledger = project.top / ".looper" / "bowl" / "ledger.jsonl"
    assert f'"base": "{head}"' in ledger.read_text()


@pytest.mark.parametrize("place", ["bowl", "bowl/deep", "elsewhere", "/"])
def test_from_any_folder(tmp_path: Path, place: str) -> None:
    project = Scripted(tmp_path, BETTER)
    project.write("deep/file.txt", "deep\n")
    cwd = project.top / place
    cwd.mkdir(exist_ok=True)
    run(project, project.target, cwd=cwd)
    check_champion(project.top)
    assert project.record().opened["identity"]["locked"].keys() >= {"evaluate.py", "target.py", "deep/file.txt"}


def test_a_target_that_is_the_whole_repository(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER, in_git=False)
    git(project.target, "init", "--quiet", "--initial-branch=main")
    git(project.target, "add", "--all")
    git(project.target, "commit", "--quiet", "-m", "A bowl")
    project.write("deep/file.txt", "deep\n")
    before = fingerprint(project.target)
    run(project, project.target, cwd=project.target / "deep")
    assert fingerprint(project.target) == before
    check_champion(project.target, path="point.txt")


# -- outside any repository -----------------------------------------------------------------------------------


def test_a_target_outside_any_repository_gets_one_of_its_own(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER, in_git=False)
    run(project, project.target, cwd=tmp_path)
    run(project, project.target, cwd=project.target)
    assert project.record().next_n == 4
    own = project.target / ".looper" / "repo.git"
    assert "a=7" in git(project.target, f"--git-dir={own}", "show", "looper/bowl:point.txt")
    assert not (project.target / ".git").exists()


def test_a_target_that_git_ignores_gets_one_of_its_own(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER, in_git=False)
    git(project.top, "init", "--quiet")
    (project.top / ".gitignore").write_text("bowl/\n")
    run(project, project.target)
    check_champion(project.target, project.target / ".looper" / "repo.git", path="point.txt")
    assert git(project.top, "for-each-ref") == ""


def test_a_repository_without_a_checkout_is_none_of_the_targets(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER, in_git=False)
    git(project.top, "init", "--quiet", "--bare", ".")
    run(project, project.target)
    check_champion(project.target, project.target / ".looper" / "repo.git", path="point.txt")
    assert git(project.top, "for-each-ref") == ""


# -- configuration, attributes, hooks -------------------------------------------------------------------------

HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "reference-transaction", "post-checkout",
         "post-index-change", "pre-auto-gc", "post-rewrite", "post-merge", "update")  # fmt: skip


def test_nothing_that_the_user_configured_takes_part(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >> {ran}\ncat\n')
    script.chmod(0o755)
    hooks = project.top / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in HOOKS:
        (hooks / name).unlink(missing_ok=True)
        (hooks / name).symlink_to(script)
    text = POINT.replace("\n", "\r\n").replace(".", "$Id$") + "no line feed at the end \t"
    (project.target / "point.txt").write_bytes(text.encode())
    attributes = "* ident eol=crlf text=auto working-tree-encoding=UTF-16 filter=own diff=own merge=own export-subst\n"
    (project.top / ".gitattributes").write_text(attributes)
    for key, value in {
        "core.hooksPath": str(hooks), "core.fsmonitor": str(script), "core.autocrlf": "true", "core.eol": "crlf",
        "core.attributesFile": str(project.top / ".gitattributes"), "filter.own.clean": str(script),
        "filter.own.smudge": str(script), "filter.own.required": "true", "diff.own.command": str(script),
        "diff.own.textconv": str(script), "diff.external": str(script), "merge.own.driver": str(script),
        "commit.gpgSign": "true", "gpg.program": str(script), "core.pager": str(script), "core.editor": str(script),
        "core.sshCommand": str(script), "credential.helper": str(script), "i18n.commitEncoding": "UTF-16",
        "core.logAllRefUpdates": "always", "gc.auto": "1", "user.useConfigOnly": "true",
    }.items():  # fmt: skip
        subprocess.run(["git", "config", "--file", ".git/config", key, value], cwd=project.top, check=True)
    before = fingerprint_without_git_status(project.top)
    ran.unlink(missing_ok=True)
    run(project, project.target)
    assert not ran.exists()
    assert fingerprint_without_git_status(project.top) == before
    for name in HOOKS:
        (hooks / name).unlink()
    (project.top / ".git" / "config").write_text("[core]\n\trepositoryformatversion = 0\n")
    blob = subprocess.run(
        ["git", "cat-file", "blob", "looper/bowl:bowl/point.txt"], cwd=project.top, capture_output=True
    )
    assert blob.stdout == text.replace("a=10\r\n", "a=8\n").encode()


def fingerprint_without_git_status(top: Path) -> dict[str, str]:
    """As :func:`fingerprint`, but without a git that would run what is configured."""
    names = [top / ".git" / name for name in ("index", "HEAD", "config", "logs/HEAD")]
    names += [path for path in top.rglob("*") if path.is_file() and not {".git", ".looper"} & set(path.parts)]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in names if path.exists()}


def test_what_the_user_ignores_everywhere_is_no_part_of_a_target(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    (tmp_path / "config" / "git").mkdir(parents=True)
    (tmp_path / "config" / "git" / "ignore").write_text("*.swp\n")
    project.write(".point.txt.swp", "an editor's\n")
    env = project.environment(XDG_CONFIG_HOME=str(tmp_path / "config"))
    command = [*COMMAND, "run", str(project.target), "--proposer", "steps", "--experiments", "1"]
    for text in ("an editor's\n", "an editor's other\n"):
        project.write(".point.txt.swp", text)
        assert subprocess.run(command, cwd=project.top, env=env, capture_output=True).returncode == 0
    assert project.record().next_n == 3
    assert ".point.txt.swp" not in project.git("ls-tree", "-r", "--name-only", "looper/bowl")


# -- names and kinds of files ---------------------------------------------------------------------------------

ODD = ("with space.txt", "quo\"te'.txt", "back\\slash.txt", "größe-日本.txt",
       "*.glob", ":(top)magic", "-dash", "deep/er/file.txt")  # fmt: skip


@pytest.mark.parametrize("in_git", [True, False])
def test_names_of_every_kind(tmp_path: Path, in_git: bool) -> None:
    project = Scripted(tmp_path / "a \"b\" 'c'\nd *é", BETTER, in_git=False)
    for name in ODD:
        project.write(name, f"{name}\n")
    if in_git:
        git(project.top, "init", "--quiet", "--initial-branch=main")
    run(project, project.target)
    own = None if in_git else project.target / ".looper" / "repo.git"
    prefix = "bowl/" if in_git else ""
    check_champion(project.top if in_git else project.target, own, path=f"{prefix}point.txt")
    options = [] if own is None else [f"--git-dir={own}"]
    listed = git(project.top, *options, "ls-tree", "-r", "-z", "--name-only", "looper/bowl").split("\0")
    assert {f"{prefix}{name}" for name in ODD} < set(listed)


def test_a_program_stays_one(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    (project.target / "point.txt").chmod(0o755)
    run(project, project.target)
    assert project.git("ls-tree", "looper/bowl", "bowl/point.txt").startswith("100755")
    assert project.git("ls-tree", "looper/bowl", "bowl/program.md").startswith("100644")


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER)
    (project.target / "link.txt").symlink_to("point.txt")
    assert "link.txt is not a plain file" in run(project, project.target, status=2)
    (project.target / "link.txt").unlink()
    (project.target / os.fsdecode(b"\xff.txt")).touch()
    assert "is not UTF-8. Rename it." in run(project, project.target, status=2)
    (project.target / os.fsdecode(b"\xff.txt")).unlink()
    (project.target / "point.txt").write_bytes(b"a=1\nafter=\nb=\xff\n")
    assert "point.txt of the target bowl is not UTF-8 text" in run(project, project.target, status=2)


def test_an_editable_file_that_git_ignores(tmp_path: Path) -> None:
    project = Scripted(tmp_path, BETTER, in_git=False)
    git(project.top, "init", "--quiet")
    project.write(".gitignore", "point.txt\n")
    assert "git ignores point.txt of the target bowl" in run(project, project.target, status=2)
