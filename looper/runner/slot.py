"""One place where one candidate is measured at a time: a folder of its own, a device or a core of its own."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from looper.evaluation.logtext import one_line
from looper.models import Experiment, Measurement
from looper.sandbox.removal import is_folder, remove

MAX_READ = 1 << 24  # bytes of a changed file, to say what it is now


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
    """A job that ended, and how; ``fault`` says what must be mended before anything is measured again."""

    job: Job
    measurement: Measurement
    fault: str = ""


class SlotFolder:
    """The target's files as one slot sees them: always restored, nothing else left over."""

    def __init__(self, folder: Path, locked: Mapping[str, bytes]) -> None:
        self.root = folder / "target"
        self.scratch = folder / "scratch"
        self._locked = locked
        self._files: Mapping[str, bytes] = {}

    def lay(self, editable: Mapping[str, bytes]) -> None:
        """Make the folder hold exactly the locked files and these editable ones, and empty the scratch.

        Raises:
            OSError: when it cannot be written.
        """
        self._files = {**self._locked, **editable}
        self._remove_strangers()
        for name, data in self._files.items():
            path = self.root / name
            if not _is_file_with(path, data):
                path.parent.mkdir(parents=True, exist_ok=True)
                # a new file in place of the old: never written through a link that a candidate made
                path.unlink(missing_ok=True)
                with open(path, "xb") as f:
                    f.write(data)
        remove(self.scratch)
        self.scratch.mkdir(parents=True)

    def vanished(self) -> bool:
        """Whether the folder itself is gone: somebody cleaned up, which says nothing about the candidate."""
        return not is_folder(self.root)

    def tampered(self) -> dict[str, str]:
        """Files of the target that are not what was laid out, by name, and how they differ."""
        wrong = {name: data for name, data in self._files.items() if not _is_file_with(self.root / name, data)}
        return {name: f"was {_described(data)}; {_found_at(self.root / name)}" for name, data in wrong.items()}

    def _remove_strangers(self) -> None:
        folders = {str(parent) for name in self._files for parent in PurePosixPath(name).parents}
        if not is_folder(self.root):
            remove(self.root)
            self.root.mkdir(parents=True)
        queue = [PurePosixPath()]
        while queue:
            below = queue.pop()
            os.chmod(self.root / below, 0o755)  # whatever a candidate made of it
            for entry in os.scandir(self.root / below):
                path = below / entry.name
                if entry.is_dir(follow_symlinks=False) and str(path) in folders:
                    queue.append(path)
                elif entry.is_dir(follow_symlinks=False) or str(path) not in self._files:
                    remove(Path(entry))


def untouched(measurement: Measurement, files: Mapping[str, str], environment: Sequence[str]) -> Measurement:
    """The measurement; without its score when what it rests on was changed while it was made.

    Args:
        files: files of the target that were changed, and how; see :meth:`SlotFolder.tampered`.
        environment: what was changed of what evaluators run from, a line each.
    """
    changes = [*(f"{name}: {how}" for name, how in files.items()), *environment]
    if not changes:
        return measurement
    reason = f"files of the target were changed during the run: {', '.join(files)}"
    if not files:
        reason = f"what evaluators run from was changed during the run: {environment[0]}"
    facts = {**measurement.facts, "tampered": changes}
    return replace(measurement, status="tampered", metrics={}, reason=one_line(reason), facts=facts)


def _described(data: bytes) -> str:
    return f"{len(data)} bytes with SHA-256 {hashlib.sha256(data).hexdigest()[:12]}"


def _found_at(path: Path) -> str:
    """What is there now, for people."""
    try:
        status = path.lstat()
    except OSError:
        return "is gone"
    if not stat.S_ISREG(status.st_mode):
        return f"is no plain file ({stat.filemode(status.st_mode)})"
    if status.st_nlink != 1:
        return f"has {status.st_nlink} names"
    if status.st_size > MAX_READ:
        return f"is {status.st_size} bytes"
    try:
        return f"is {_described(path.read_bytes())}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _is_file_with(path: Path, data: bytes) -> bool:
    """Whether ``path`` is a plain file, linked nowhere else, that holds exactly ``data``."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size != len(data):
        os.close(fd)
        return False
    with open(fd, "rb") as f:
        return f.read(len(data) + 1) == data
