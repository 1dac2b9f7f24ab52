"""What makes two measurements comparable: the target, its inputs, the machine, the versions, the isolation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from looper import __version__, hardware
from looper.errors import SessionError, TargetError
from looper.isolation import Isolation
from looper.models import Target
from looper.proposal import unfit

PACKAGES = ("torch", "triton", "numpy", "numba", "tokenizers")  # whose versions move figures
WHERE = "_path"  # ends the name of a fact that says where something is, not what it is
COMPARED_MACHINE = ("cpu", "gpu")  # a new kernel or more memory does not end a session


@dataclass(frozen=True)
class Identity:
    """Written when a session opens; a session is only resumed where it is the same in all that counts."""

    target: Mapping[str, Any]
    facts: Mapping[str, str]
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    isolation: Mapping[str, str]
    locked: Mapping[str, str]

    @classmethod
    def of(cls, target: Target, facts: Mapping[str, str], isolation: Isolation, files: Mapping[str, bytes]) -> Identity:
        """The identity of a session on ``target`` here and now; ``files`` are all files of its folder.

        Raises:
            TargetError: when the target's settings are not plain values.
        """
        try:
            settings = json.loads(json.dumps(dict(target.settings), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise TargetError(f"The settings of the target {target.name} must be plain values: {error}.") from None
        locked = {name: hashlib.sha256(data).hexdigest() for name, data in locked_files(target, files).items()}
        described = {
            "name": target.name,
            "editable": list(target.editable),
            "metric": asdict(target.metric),
            "budget": asdict(target.budget),
            "device": target.device,
            "settings": settings,
        }
        identifying = {name: value for name, value in facts.items() if not name.endswith(WHERE)}
        return cls(described, identifying, hardware.fingerprint(), _versions(), asdict(isolation), locked)

    @property
    def environment(self) -> str:
        """Twelve hex digits that stand for all of it in every measurement's line."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the ledger."""
        return asdict(self)

    def must_match(self, then: Mapping[str, Any], tag: str) -> None:
        """Refuse to go on with a session whose measurements could not be compared with new ones.

        Raises:
            SessionError: naming what differs, then and now.
        """
        now = self.as_dict()
        differs = []
        for part in ("target", "facts", "locked"):
            differs += _differences(part, then.get(part), now[part])
        differs += _differences("isolation level", then["isolation"]["level"], now["isolation"]["level"])
        for name in COMPARED_MACHINE:
            differs += _differences(f"machine's {name}", then["machine"].get(name), now["machine"].get(name))
        if differs:
            raise SessionError(
                f"The session {tag!r} cannot be resumed here, because its measurements could not be compared:\n  "
                + "\n  ".join(differs)
                + "\nUndo the change, or start a new session with --fresh."
            )


def check_files(target: Target, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the target's folder, if they have all that an evaluation needs.

    Raises:
        TargetError: naming what is missing, or cannot be proposed for.
    """
    for name in (*target.editable, target.evaluator):
        if name not in files:
            raise TargetError(_why_missing(target, name))
    for name in target.editable:
        try:
            text = files[name].decode()
        except UnicodeDecodeError:
            raise TargetError(f"The editable file {name} of the target {target.name} is not UTF-8 text.") from None
        if why := unfit(name, text):
            raise TargetError(f"The target {target.name} {why}, which no proposal may. Mend the file.")
    return files


def _why_missing(target: Target, name: str) -> str:
    """Why a file that is there does not belong to the target's folder."""
    root = target.root.resolve()
    for path in (root / name, *(root / name).parents):
        if path.is_symlink():
            return f"{path} of the target {target.name} is a link. Put what it leads to in its place."
    return f"git ignores {name} of the target {target.name}. Take it out of .gitignore."


def locked_files(target: Target, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that an evaluation may depend on and no proposal may touch.

    Text for people, the proposers' instructions and the wrong candidates are left out.
    """
    return {
        name: data
        for name, data in files.items()
        if name not in target.editable
        and name != target.program
        and not name.startswith("wrong/")
        and not name.endswith(".md")
    }


def _differences(part: str, then: Any, now: Any) -> list[str]:
    if then == now:
        return []
    if part.startswith("locked: "):
        what = "was added" if then is None else "was removed" if now is None else "was changed"
        return [f"the locked file {part.removeprefix('locked: ')} {what}"]
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        names = sorted(then.keys() | now.keys())
        return [line for name in names for line in _differences(f"{part}: {name}", then.get(name), now.get(name))]
    return [f"{part}: it was {str(then)[:80]}, now it is {str(now)[:80]}"]


def _versions() -> dict[str, str]:
    found = {"looper": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
