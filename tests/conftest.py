"""What holds for every test: one git configuration, property tests that repeat, GPU tests on GPUs alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from looper import hardware

# The same examples on every machine and in every run, and no deadline: a busy machine is no failure.
hypothesis.settings.register_profile("looper", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("looper")


@pytest.fixture(autouse=True, scope="session")
def git_of_nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A git configuration without a name, an address or a guess at either; a commit has to bring its own."""
    config = tmp_path_factory.mktemp("git") / "config"
    config.write_text("[user]\n\tuseConfigOnly = true\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GIT_CONFIG_GLOBAL", str(config))
        environment.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            environment.delenv(name, raising=False)
        yield config


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if hardware.gpus():
        return
    skip = pytest.mark.skip(reason="needs an NVIDIA GPU")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
