"""Text that is scored cannot be read by a worker that sees what it needs and nothing of what is hidden."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "targets" / "nanogpt"))

import corpora
import dataset
import hidden
import prepare
import splits
import withheld

NANOGPT = Path(prepare.__file__).parent
STDLIB = Path(sysconfig.get_path("stdlib"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dataset.Corpus]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOOPER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield dataset.open_corpus(prepare.prepare("stdlib")["folder"])


def below(path: Path, places: list[str]) -> bool:
    return any(str(place) in places for place in (path, *path.parents))


def test_every_file_that_is_scored_is_hidden_and_none_that_is_trained_on(corpus: dataset.Corpus) -> None:
    source = corpora.find("stdlib")
    places = hidden.hidden_paths(corpus, "")
    split_of = {document.data: code for code, document in splits.plan(source, None, lambda n: None).select(source)}
    counted = dict.fromkeys(splits.CODES.values(), 0)
    for path in corpora.walk(STDLIB, ".py", without=corpora.NOT_LIBRARY):
        code = split_of.get(path.read_bytes())
        if code is not None and path.stat().st_size > 1000:  # what is shorter can be the same as another
            assert below(path, places) == (code != splits.TRAIN), path
            counted[code] += 1
    assert min(counted.values()) >= 5


def test_what_was_compiled_from_it_is_hidden_too(corpus: dataset.Corpus) -> None:
    places = hidden.hidden_paths(corpus, "")
    compiled = [path for path in STDLIB.rglob("*.pyc") if path.name.split(".")[0] in corpus.hidden]
    assert all(below(path, places) for path in compiled if path.parent.parent == STDLIB)
    assert str(corpus.folder.parent) in places


TRAINS = """
import json, multiprocessing.pool, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, numpy.testing, torch, torch._dynamo, torch._inductor.compile_fx, torch.utils.checkpoint
import driver, train
info = dict(vocab_size=300, context=32, bos=0, rows=4, device="cpu", preset="cpu", seed=1, purpose="train")
driver.setup(train, info)
tokens = np.random.default_rng(0).integers(1, 300, 20000).astype(np.uint16)
driver.train(train, tokens, dict(budget_s=9.0, clock="wall", fixed_steps=2))
torch.compile(lambda x: (x.sin() * 2).sum(), backend="aot_eager")(torch.ones(3))
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


@pytest.mark.slow
def test_a_training_worker_imports_nothing_of_it(corpus: dataset.Corpus) -> None:
    command = [sys.executable, "-I", "-c", TRAINS, str(NANOGPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"torch", "numpy", "train", "multiprocessing"} <= imported
    assert imported.isdisjoint(withheld.UNUSED)


def lines_of(path: Path) -> set[bytes]:
    """Lines long enough to be told apart."""
    return {line.strip() for line in path.read_bytes().splitlines() if len(line.strip()) >= 40}


def test_no_other_module_of_the_library_holds_a_copy(corpus: dataset.Corpus) -> None:
    files = corpora.walk(STDLIB, ".py", without=frozenset(("site-packages", "dist-packages")))
    places = hidden.hidden_paths(corpus, "")
    visible = set().union(*(lines_of(path) for path in files if not below(path, places)))
    for path in files:
        if below(path, places) and len(lines := lines_of(path)) >= 20:
            assert len(lines & visible) <= len(lines) / 4, path  # licences, and calls that everyone makes


def test_a_python_that_has_fewer_of_these_modules_still_gives_enough_to_score(tmp_path: Path) -> None:
    without = {"nntplib", "cgi", "cgitb", "smtpd", "telnetlib", "ensurepip", "turtledemo", "distutils", "test"}
    kept = shutil.ignore_patterns("__pycache__", "site-packages", "config-*", *(f"{name}*" for name in without))
    shutil.copytree(STDLIB, tmp_path / "lib", ignore=kept)
    plan = splits.plan(corpora.stdlib(tmp_path / "lib"), None, lambda count: None)
    needed = 65_536 * 8 / 7 * 2.6  # tokens that the cpu preset asks for, and their bytes
    assert min(plan.text_bytes["val"], plan.text_bytes["holdout"]) > needed


def test_a_users_own_text_is_hidden_where_it_lies_and_where_links_lead(tmp_path: Path, corpus: dataset.Corpus) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "text")
    places = hidden.hidden_paths(corpus, str(tmp_path / "link"))
    assert {str(tmp_path / "link"), str(tmp_path / "text")} <= set(places)


def test_of_two_paths_below_each_other_the_outer_one_is_named(corpus: dataset.Corpus) -> None:
    places = hidden.hidden_paths(corpus, str(corpus.folder / "val.bin"))
    assert str(corpus.folder / "val.bin") not in places
    assert str(corpus.folder.parent) in places


def test_copies_are_folders_sources_and_compiled_files_of_exactly_that_name(tmp_path: Path) -> None:
    for name in ("mail/a.py", "mail.py", "mailbox.py", "__pycache__/mail.cpython-311.opt-1.pyc", "sub/mail.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = hidden.copies(str(tmp_path), ["mail", "sub/none", "nothing"])
    expected = {"mail", "mail.py", "__pycache__/mail.cpython-311.opt-1.pyc"}
    assert found == {str(tmp_path / name) for name in expected}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("torch/nn/functional.py", None),
        ("torch/fx/passes/tests/test_pass_manager.py", "torch/fx/passes/tests"),
        ("Jinja2/a.py", None),
        ("_private.py", None),
        ("copied/a.py", None),
        ("alembic/op.py", "alembic"),
        ("py.py", "py"),
        ("tests/a.py", "tests"),
    ],
)
def test_of_what_is_installed_tests_and_what_no_worker_needs_can_be_withheld(path: str, name: str | None) -> None:
    assert withheld.of_packages(tuple(path.split("/")), {"copied"}) == name
