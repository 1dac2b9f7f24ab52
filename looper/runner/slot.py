"""One place where one candidate is measured at a time: a folder of its own, a device or a core of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from looper.models import Experiment, Measurement


@dataclass(frozen=True, eq=False)
class Job:
    """A candidate to measure: the experiment it belongs to, its editable files' bytes, and the seed."""

    experiment: Experiment
    files: Mapping[str, bytes]
    seed: int


@dataclass
class Progress:
    """What is known of a running evaluation; the values are the candidate's own claims."""

    experiment: Experiment
    slot: int
    phase: str = "setup"
    used_s: float = 0.0
    of_s: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict)
    started: float = 0.0


@dataclass(frozen=True)
class Done:
    """A job that ended, and how."""

    job: Job
    measurement: Measurement


class SlotFolder:
    """The target's files as one slot sees them: locked ones always restored, nothing else left over."""

    def __init__(self, folder: Path, locked: Mapping[str, bytes]) -> None:
        self.root = folder / "target"
        self.scratch = folder / "scratch"
        self._locked = locked

    def lay(self, editable: Mapping[str, bytes]) -> None:
        """Make the folder hold exactly the locked files and these editable ones, and empty the scratch."""
        wanted = {**self._locked, **editable}
        self._remove_strangers(wanted)
        for name, data in wanted.items():
            path = self.root / name
            if not _is_file_with(path, data):
                path.parent.mkdir(parents=True, exist_ok=True)
                # a new file in place of the old: never written through a link that a candidate made
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                with open(path, "xb") as f:
                    f.write(data)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)

    def tampered(self) -> list[str]:
        """Locked files that are not what they were."""
        return [name for name, data in self._locked.items() if not _is_file_with(self.root / name, data)]

    def _remove_strangers(self, wanted: Mapping[str, bytes]) -> None:
        folders = {str(parent) for name in wanted for parent in PurePosixPath(name).parents}
        if self.root.is_symlink() or not self.root.is_dir():
            _remove(self.root)
            self.root.mkdir(parents=True)
        for place, inner, files in os.walk(self.root):
            below = os.path.relpath(place, self.root)
            for name in (*inner, *files):
                path = os.path.normpath(os.path.join(below, name))
                full = Path(place, name)
                is_folder = full.is_dir() and not full.is_symlink()
                if path not in (folders if is_folder else wanted):
                    _remove(full)
            inner[:] = [name for name in inner if Path(place, name).is_dir()]


def _is_file_with(path: Path, data: bytes) -> bool:
    """Whether ``path`` is a plain file, linked nowhere else, that holds exactly ``data``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with open(fd, "rb") as f:
        status = os.fstat(fd)
        plain = (status.st_mode & 0o170000) == 0o100000 and status.st_nlink == 1
        return plain and status.st_size == len(data) and f.read(len(data) + 1) == data


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
