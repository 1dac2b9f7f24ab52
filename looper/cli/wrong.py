"""The wrong candidates that a target brings along, which its evaluator must refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

from looper.errors import TargetError
from looper.evaluation.logtext import one_line
from looper.models import Target

FOLDER = "wrong/"
EXPECT = re.compile(r"\s*(?:#|//|--)\s*expect:\s*(.*?)\s*")
MARKS = re.compile(r"""^\s*(?:#|//|--|[rR]?(?:\"{3}|'{3}))\s*|\s*(?:\"{3}|'{3})\s*$""")
HEAD = 10  # lines in which the expectation is looked for

Expectation = Literal["refused", "no gain"]


@dataclass(frozen=True)
class Wrong:
    """One wrong candidate.

    Args:
        name: its path below the target's folder.
        tries: what it tries, from its first comment; empty when it does not say.
        expect: ``refused``, or ``no gain`` when it may run but must not score better than the unedited files.
        files: all editable files, with its own in place.
    """

    name: str
    tries: str
    expect: Expectation
    files: Mapping[str, bytes]


def wrong_candidates(target: Target, files: Mapping[str, bytes]) -> list[Wrong]:
    """Those among the target's ``files``.

    ``wrong/NAME.py`` takes the place of the first editable file, ``wrong/NAME/PATH`` that of the editable file PATH.

    Raises:
        TargetError: when one has a file that is not editable, an unknown expectation, or changes nothing.
    """
    unedited = {name: files[name] for name in target.editable}
    return [_wrong(target, name, own, unedited) for name, own in sorted(_overlays(target, files).items())]


def _overlays(target: Target, files: Mapping[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Name of each wrong candidate -> its files, by the path of the editable file that they replace."""
    first = target.editable[0]
    found: dict[str, dict[str, bytes]] = {}
    for path, data in files.items():
        if not path.startswith(FOLDER) or path.endswith(".md"):
            continue
        name, _, inner = path.removeprefix(FOLDER).partition("/")
        if not inner and PurePosixPath(name).suffix != PurePosixPath(first).suffix:
            raise TargetError(f"{path} of the target {target.name} cannot take the place of {first}. Move it.")
        found.setdefault(FOLDER + name, {})[inner or first] = data
    return found


def _wrong(target: Target, name: str, own: Mapping[str, bytes], unedited: Mapping[str, bytes]) -> Wrong:
    strangers = sorted(own.keys() - unedited.keys())
    if strangers:
        raise TargetError(
            f"{name}/{strangers[0]} of the target {target.name} replaces no editable file. "
            f"Editable: {', '.join(target.editable)}."
        )
    if all(unedited[path] == data for path, data in own.items()):
        raise TargetError(
            f"{name} of the target {target.name} is the same as the unedited files, so it cannot be refused. "
            "Remove it or make it wrong."
        )
    text = next(iter(dict(sorted(own.items())).values())).decode(errors="replace")
    tries, expect = _head(text)
    if expect not in get_args(Expectation):
        raise TargetError(f"{name} of the target {target.name} expects {expect!r}: write `refused` or `no gain`.")
    return Wrong(name, tries, "no gain" if expect == "no gain" else "refused", {**unedited, **own})


def _head(text: str) -> tuple[str, str]:
    """What the first comment or docstring says, and the expectation."""
    tries, expect, begun = "", "refused", False
    for line in text.splitlines()[:HEAD]:
        asked = EXPECT.fullmatch(line)
        if asked:
            expect = asked[1]
        elif line.strip() and not begun:
            begun = True  # only the first line counts
            tries = one_line(MARKS.sub("", line)) if MARKS.match(line) else ""
    return tries, expect
