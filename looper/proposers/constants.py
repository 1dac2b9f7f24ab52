"""Constants that an editable file marks with a range in a comment: reading them, and setting them.

    MATRIX_LR = 0.04    # learning rate of the matrices; search: 0.005..0.2 log
    DEPTH = 2           # layers; search: 1..6
    ACT = "relu2"       # activation; search: {"relu2", "gelu"}

A marked constant is one assignment on one line at the top level of a Python file. Setting it replaces
the characters of its literal; every other character of the file stays.
"""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from looper.errors import ProposerError

FORMS = '"search: LOW..HIGH", "search: LOW..HIGH log" or "search: {A, B, C}"'

#: Values of a range that `Range.grid` goes through at most.
GRID = 1001

_MARK = re.compile(r".*\bsearch:\s*(.*?)\s*$")  # the last one of a comment
_NUMBER = r"[+-]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})(\s+log)?")
_NEWLINE = re.compile(r"\r\n|\r|\n")

Literal = bool | int | float | str | tuple[object, ...] | None


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``log`` spaces them by ratio."""

    low: float
    high: float
    log: bool
    whole: bool

    def text(self, value: float) -> str:
        """``value`` as a literal, brought into the range and cut to three significant digits.

        A range that is narrow for its size gets as many digits as divide it into 100 steps.
        """
        if self.whole:
            return repr(int(min(max(round(value), self.low), self.high)))
        size = max(abs(self.low), abs(self.high))
        digits = 3 + max(0, math.floor(math.log10(size / (self.high - self.low))))
        return repr(min(max(float(f"{value:.{digits}g}"), self.low), self.high))

    def canonical(self, value: Literal) -> str:
        """One spelling for each value, so that equal values compare equal as text."""
        assert isinstance(value, int | float)
        return repr(int(value)) if self.whole else repr(float(value))

    def holds(self, text: str) -> bool:
        """Whether ``text`` is a literal of this kind of number and lies in the range."""
        try:
            return self.low <= (int(text) if self.whole else float(text)) <= self.high
        except ValueError:
            return False

    def grid(self) -> Iterator[str]:
        """Every whole number, or up to `GRID` values evenly spaced on the range's own scale."""
        if self.whole and self.high - self.low < GRID:
            yield from map(repr, range(int(self.low), int(self.high) + 1))
            return
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        points = (low + (high - low) * k / (GRID - 1) for k in range(GRID))
        yield from dict.fromkeys(self.text(math.exp(p) if self.log else p) for p in points)


@dataclass(frozen=True, slots=True)
class Choices:
    """A list of literals, each spelt as the file spells it."""

    texts: tuple[str, ...]

    def text(self, value: str) -> str:
        """The literal of a choice, which is the choice."""
        return value

    def canonical(self, value: Literal) -> str:
        """One spelling for each value: that of the list where the value is in it."""
        spellings = {repr(ast.literal_eval(text)): text for text in self.texts}
        return spellings.get(repr(value), repr(value))

    def holds(self, text: str) -> bool:
        """Whether the literal ``text`` is one of the choices."""
        return text in self.texts

    def grid(self) -> Iterator[str]:
        """Every choice."""
        yield from self.texts


Domain = Range | Choices


@dataclass(frozen=True, slots=True)
class Constant:
    """A marked constant.

    Args:
        path: the editable file.
        name: the variable.
        written: the literal's characters in the file.
        value: the same value in its one spelling (`Range.canonical`, `Choices.canonical`).
        domain: where search may move it; the present value may lie outside.
        start: where the literal begins, in characters of the file's text.
        end: where it ends.
    """

    path: str
    name: str
    written: str
    value: str
    domain: Domain
    start: int
    end: int

    @property
    def key(self) -> str:
        """``file:NAME``: the same for as long as the constant is in its file."""
        return f"{self.path}:{self.name}"


def find_constants(files: Mapping[str, str]) -> dict[str, Constant]:
    """Every marked constant of the Python files among ``files``, by key, in the order of the files.

    Raises:
        ProposerError: a mark that cannot be followed, with the file, the line and the right form.
    """
    found: dict[str, Constant] = {}
    for path, text in files.items():
        if path.endswith(".py"):
            found.update((constant.key, constant) for constant in _constants_of(path, text))
    return found


def labels(constants: Mapping[str, Constant]) -> dict[str, str]:
    """What to call each constant: its name, or ``file:NAME`` where two files use the name."""
    uses = Counter(constant.name for constant in constants.values())
    return {key: constant.name if uses[constant.name] == 1 else key for key, constant in constants.items()}


def set_constants(
    files: Mapping[str, str], constants: Mapping[str, Constant], literals: Mapping[str, str]
) -> dict[str, str]:
    """The files that change when each constant of ``literals`` (key -> literal) is set, with their new text.

    Args:
        files: text by path.
        constants: what `find_constants` found in ``files``; must hold every key of ``literals``.
        literals: the characters to write for each constant.
    """
    texts = dict(files)
    # From the end of a file to its beginning, so that the offsets still to come stay true.
    for key in sorted(literals, key=lambda key: constants[key].start, reverse=True):
        constant = constants[key]
        text = texts[constant.path]
        texts[constant.path] = text[: constant.start] + literals[key] + text[constant.end :]
    return {path: text for path, text in texts.items() if text != files[path]}


@lru_cache(maxsize=8)
def _constants_of(path: str, text: str) -> tuple[Constant, ...]:
    if "search:" not in text:
        return ()
    mark_of_order = len(text) - len(text.removeprefix("\ufeff"))  # Python runs a file that begins with one
    lines = _NEWLINE.split(text[mark_of_order:])
    # Only \n ends a line from here on; columns are those of the text.
    statements, comments = _parse(path, "\n".join(lines))
    starts = [mark_of_order, *(newline.end() for newline in _NEWLINE.finditer(text))]
    found: dict[str, Constant] = {}
    for line, column, comment in comments:
        mark = _MARK.match(comment)
        here = [node for node in statements if node.lineno <= line <= (node.end_lineno or line)]
        if mark is None or not lines[line - 1][:column].strip():
            continue  # a comment on a line of its own marks nothing
        where = f"{path}, line {line}"
        if len(here) != 1 or not isinstance(here[0], ast.Assign | ast.AnnAssign) or _lines(here[0]) > 1:
            if _is_range(mark[1]):
                raise ProposerError(
                    f"{where}: only an assignment at the top level, alone on its line, can be marked with"
                    f' "search: {mark[1]}". Make it a constant of the module, or take the mark away.'
                )
            continue  # prose that happens to hold the word
        name, value = _assigned(where, here[0])
        domain, literal = _domain(where, name, mark[1], value)
        if name in found:
            raise ProposerError(f"{where}: {name} is marked twice in this file. Keep one of the marks.")
        begin, end = (
            starts[line - 1] + len(lines[line - 1].encode()[:offset].decode())  # ast counts UTF-8 bytes
            for offset in (value.col_offset, value.end_col_offset or 0)
        )
        found[name] = Constant(path, name, text[begin:end], domain.canonical(literal), domain, begin, end)
    return tuple(found.values())


def _parse(path: str, text: str) -> tuple[Sequence[ast.stmt], list[tuple[int, int, str]]]:
    """The top-level statements, and each comment as (line from 1, column from 0, text)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a candidate's own syntax warnings are not for this terminal
            body = ast.parse(text).body
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else path
        raise ProposerError(f"{where} is not valid Python ({error.args[0]}). Mend it before searching.") from None
    return body, [(*token.start, token.string) for token in tokens if token.type == tokenize.COMMENT]


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _assigned(where: str, node: ast.Assign | ast.AnnAssign) -> tuple[str, ast.expr]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if len(targets) != 1 or not isinstance(targets[0], ast.Name) or node.value is None:
        raise ProposerError(f'{where}: a marked line must give one name one value, such as "DEPTH = 2".')
    return targets[0].id, node.value


def _literal(node: ast.expr) -> Literal:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        value = ...
    if isinstance(value, bool | int | float | str | tuple | None):
        return value
    raise ValueError(
        f'"{ast.unparse(node)}" is not a literal (a number, a text, True, False, None or a tuple of these)'
    )


def _is_range(text: str) -> bool:
    return _RANGE.fullmatch(text) is not None or (text.startswith("{") and text.endswith("}"))


def _domain(where: str, name: str, text: str, node: ast.expr) -> tuple[Domain, Literal]:
    bounds = _RANGE.fullmatch(text)
    try:
        value = _literal(node)
        if bounds:
            return _range(bounds[1], bounds[2], bool(bounds[3]), value), value
        if text.startswith("{"):
            return _choices(text), value
        raise ValueError("this is no range")
    except (ValueError, SyntaxError) as error:
        reason = error.args[0] if type(error) is ValueError else "these are not literals"
        raise ProposerError(f'{where}: "search: {text}" for {name}: {reason}. Write {FORMS}.') from None


def _range(low_text: str, high_text: str, log: bool, value: Literal) -> Range:
    low, high = _bound(low_text), _bound(high_text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a range is for numbers, and the value is {value!r}")
    if not low < high < math.inf:
        raise ValueError("the first bound must be below the second")
    if log and low <= 0:
        raise ValueError("a log range must begin above 0")
    return Range(low, high, log, whole=all(isinstance(number, int) for number in (low, high, value)))


def _bound(text: str) -> int | float:
    value = float(text)
    # 1e3 is a whole number to people; 1.0 asks for a float.
    return int(ast.literal_eval(text)) if "." not in text and value.is_integer() else value


def _choices(text: str) -> Choices:
    node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.Set):
        raise ValueError("choices are literals between braces")
    values = [repr(_literal(element)) for element in node.elts]
    if len(set(values)) < len(values):
        raise ValueError("the same choice stands there twice")
    if len(values) < 2:
        raise ValueError("one choice leaves nothing to search")
    return Choices(tuple(ast.get_source_segment(text, element) or "" for element in node.elts))
