"""Attacks on the secrets in the environment of the user who runs looper: none leaves looper's own process."""

from __future__ import annotations

import secrets
import subprocess

import pytest

from tests.projects import COMMAND, EVALUATE, TARGET, Project
from tests.redteam.repository import plain_git

PREFIX = "only-looper-has-seen-this"
NAMES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "AZURE_API_KEY",
         "WANDB_API_KEY", "PGPASSWORD", "HTTPS_PROXY", "SSH_AUTH_SOCK", "KUBECONFIG", "LOOPER_SECRET", "PYTHONPATH_X",
         "OMP_SECRET", "CUDA_SECRET", "Some_Password")  # fmt: skip

# The prefix is put together, so that the program does not find itself.
HUNT = f"""
import glob, os, re

MARK = re.compile("-".join({PREFIX.split("-")!r}).encode() + rb"-[0-9a-f]{{32}}")


def environments():
    for place in ("/proc/*/environ", "/proc/*/task/*/environ"):
        for path in glob.glob(place):
            try:
                yield path, open(path, "rb").read()
            except OSError:
                pass


def memory():
    for line in open("/proc/self/maps"):
        limits, rights, *_ = line.split()
        start, end = (int(part, 16) for part in limits.split("-"))
        if rights[0] == "r" and end - start < 1 << 27:
            try:
                with open("/proc/self/mem", "rb", 0) as f:
                    f.seek(start)
                    yield limits, f.read(end - start)
            except (OSError, ValueError, OverflowError):
                pass


def hunt(who, places):
    looked = 0
    for place, data in places:
        looked += 1
        for found in MARK.findall(data):
            print("found by", who, "in", place, found.decode())
    print(who, "looked at", "some" if looked else "none")
"""

SOLUTION = f"""{HUNT}
X = 0.0
print("candidate sees", dict(os.environ))
hunt("candidate's environments", environments())
hunt("candidate's memory", memory())


def answer():
    return X
"""

EVALUATOR = f"""{HUNT}
def own():
    for process in ("self", os.getppid()):  # and who started it
        yield f"/proc/{{process}}/environ", open(f"/proc/{{process}}/environ", "rb").read()
    yield "os.environ", repr(dict(os.environ)).encode()


hunt("evaluator's environments", own())
hunt("evaluator's memory", memory())
print("evaluator sees", dict(os.environ))
{EVALUATE}"""

PROPOSER = """
    def propose(self, context):
        import os, shutil
        spied = Path("SPIED")
        known = sum("PREFIX" in value for value in os.environ.values())
        with open(spied / "context", "a") as file:
            file.write(f"{context!r} {context.target!r} {context.history!r}\\n")
        shutil.copytree(spied.parent / "repo" / ".looper" / "bowl", spied / "session", dirs_exist_ok=True)
        (spied / "known").write_text(str(known))
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str, str]:
    """A session of four experiments whose user has secrets: the project, the secret part, and all that was printed."""
    folder = tmp_path_factory.mktemp("secrets")
    project = Project(folder)
    (folder / "spied").mkdir()
    spy = PROPOSER.replace("SPIED", str(folder / "spied")).replace("PREFIX", PREFIX)
    project.write("target.py", TARGET.replace("\n    def propose(self, context):\n", spy))
    project.write("evaluate.py", EVALUATOR)
    project.write("solution.py", SOLUTION)
    project.commit("Spies")
    secret = secrets.token_hex(16)
    env = project.environment(**{name: f"{PREFIX}-{secret}" for name in NAMES})
    printed = ""
    for words in (["run", str(project.target), "--proposer", "steps", "--slots", "1", "--experiments", "4"],
                  ["show", "1", "--json"], ["show", "1"], ["log"], ["status"], ["doctor"]):  # fmt: skip
        done = subprocess.run([*COMMAND, *words], cwd=project.top, env=env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0 or words == ["doctor"], done.stderr
        printed += done.stdout + done.stderr
    return project, secret, printed


def logs(project: Project) -> str:
    return "\n".join(line for event in project.events() for line in event.get("log", ()))


def test_the_spies_were_there(session: tuple[Project, str, str]) -> None:
    project, _, _ = session
    assert (project.scratch.parent / "spied" / "known").read_text() == str(len(NAMES))
    assert [each.verdict for each in project.record().history] == ["keep", "keep", "discard", "crash", "invalid"]
    for who in ("candidate's environments", "candidate's memory", "evaluator's environments", "evaluator's memory"):
        assert f"{who} looked at some" in logs(project)
    assert "evaluator sees {" in logs(project)
    assert "candidate sees {" in logs(project)


def test_no_secret_is_found_by_the_candidate_or_the_evaluator(session: tuple[Project, str, str]) -> None:
    project, _, _ = session
    assert "found by" not in logs(project)
    for name in NAMES:
        assert name not in logs(project)


@pytest.mark.parametrize("place", ["the session's folder", "the slots while it ran", "temporary files"])
def test_no_secret_lies_in(session: tuple[Project, str, str], place: str) -> None:
    project, secret, _ = session
    folder = {
        "the session's folder": project.home / ".looper",
        "the slots while it ran": project.scratch.parent / "spied" / "session",
        "temporary files": project.scratch,
    }[place]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files or place == "temporary files"
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def test_no_secret_is_in_what_the_proposer_sees(session: tuple[Project, str, str]) -> None:
    project, secret, _ = session
    context = (project.scratch.parent / "spied" / "context").read_text()
    assert "history" in context
    assert secret not in context
    assert not [name for name in NAMES if name in context]


def test_no_secret_is_in_the_repository(session: tuple[Project, str, str]) -> None:
    project, secret, _ = session
    objects = plain_git(project, "cat-file", "--batch-all-objects", "--batch")
    names = plain_git(project, "for-each-ref")
    assert b"refs/looper/bowl/tried/4" in names
    assert secret.encode() not in objects + names
    for path in (project.top / ".git").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes()


def test_no_secret_is_printed(session: tuple[Project, str, str]) -> None:
    _, secret, printed = session
    assert "bowl" in printed
    assert secret not in printed
