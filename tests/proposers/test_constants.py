from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from looper.errors import ProposerError
from looper.proposers.constants import Choices, Range, find_constants, labels, set_constants

SOURCE = """\ufeff'''Prose about the search: nothing is marked here.'''\r
ÉTA: float = 0.04\t# größe; search: 0.005..0.2 log\r
DEPTH=2# layers; search: 1..6\r
SHIFT = -1e-1  # search: -1..1  \r
ROWS = 4_096  # binary search: no; search: {0, 4_096, 0x4000}\r
ACT = "relu2"  # "é"; search: {"relu2", 'gelu'}\r
BETAS = 0.9, 0.95  # search: {(0.9, 0.95), (0.8, 0.99)}\r
BF16 = False  # search: {False, True}\r
UNTOUCHED = 3\r
# search: 1..3\r
\r
def f(x):\r
    y = x  # a search: in prose\r
    return y\r
"""


def one(source: str) -> object:
    (constant,) = find_constants({"train.py": source}).values()
    return constant.domain


def test_everything_that_is_marked_is_found_in_order():
    found = find_constants({"train.py": SOURCE})
    assert [constant.name for constant in found.values()] == [
        "ÉTA", "DEPTH", "SHIFT", "ROWS", "ACT", "BETAS", "BF16",
    ]  # fmt: skip
    assert [constant.written for constant in found.values()] == [
        "0.04", "2", "-1e-1", "4_096", '"relu2"', "0.9, 0.95", "False",
    ]  # fmt: skip


def test_setting_a_constant_replaces_its_literal_and_nothing_else():
    new = {"ÉTA": "0.0305", "DEPTH": "6", "SHIFT": "0.5", "ROWS": "0x4000", "ACT": "'gelu'", "BF16": "True"}
    found = find_constants({"train.py": SOURCE})
    changed = set_constants({"train.py": SOURCE}, found, {f"train.py:{name}": text for name, text in new.items()})
    expected = SOURCE.replace("0.04\t", "0.0305\t").replace("DEPTH=2#", "DEPTH=6#").replace("-1e-1", "0.5")
    expected = expected.replace("= 4_096", "= 0x4000").replace('= "relu2"', "= 'gelu'").replace("= False", "= True")
    assert changed == {"train.py": expected}


def test_a_file_that_stays_as_it_is_is_not_among_the_changes():
    files = {"a.py": "A = 1  # search: 1..3\n", "b.py": "B = 1  # search: 1..3\n"}
    assert set_constants(files, find_constants(files), {"a.py:A": "1", "b.py:B": "2"}) == {
        "b.py": "B = 2  # search: 1..3\n"
    }


def test_a_choice_is_known_by_its_value_however_it_is_spelt():
    found = find_constants({"train.py": SOURCE.replace("4_096  #", "0x1000  #")})
    assert found["train.py:ROWS"].value == "4_096"
    assert find_constants({"train.py": SOURCE})["train.py:BETAS"].value == "(0.9, 0.95)"


@pytest.mark.parametrize(
    ("source", "domain"),
    [
        ("N = 4  # search: 1..32 log", Range(1, 32, log=True, whole=True)),
        ("N = 4  # search: 1e0..1_000", Range(1, 1000, log=False, whole=True)),
        ("D = 0  # search: 0..0.1", Range(0, 0.1, log=False, whole=False)),
        ("D = 0  # search: 0..1.0", Range(0, 1, log=False, whole=False)),
        ("D = 0.5  # search: 0..1", Range(0, 1, log=False, whole=False)),
        ("D = 0.5  # search: -.5 .. +2.", Range(-0.5, 2, log=False, whole=False)),
        ("D = 9e9  # search: 1e-3..1e3 log", Range(1e-3, 1e3, log=True, whole=False)),
        ("X = None  # search: {None, 128}", Choices(("None", "128"))),
    ],
)
def test_what_a_mark_means(source: str, domain: Range | Choices):
    assert one(source) == domain


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("LR = 0.1  # search: 0.005-0.2", "no range"),
        ("LR = 0.1  # search: 0.005..0.2 logarithmic", "no range"),
        ("LR = 0.1  # search:", "no range"),
        ("LR = 0.1  # search: 0.2..0.005", "must be below"),
        ("LR = 0.1  # search: 1..1", "must be below"),
        ("LR = 0.1  # search: 0..1e999", "must be below"),
        ("LR = 0.1  # search: 0..1 log", "above 0"),
        ("LR = 0.1  # search: {0.1, 0.1}", "twice"),
        ("LR = 0.1  # search: {0.1}", "nothing to search"),
        ("LR = 0.1  # search: {0.1, other}", '"other" is not a literal'),
        ("LR = 0.1  # search: {0.1, 0.2", "literals"),
        ("LR = 0.1  # search: {}", "literals between braces"),
        ("LR = 'a'  # search: 0..1", "for numbers"),
        ("LR = True  # search: 0..1", "for numbers"),
    ],
)
def test_a_misspelt_range_is_named_with_the_right_form(line: str, says: str):
    with pytest.raises(ProposerError, match=says) as caught:
        find_constants({"train.py": f"import os\n\n{line}\n"})
    assert "train.py, line 3" in str(caught.value)
    assert "LR" in str(caught.value)
    assert '"search: LOW..HIGH log"' in str(caught.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("LR = 2 * 0.1  # search: 0..1", '"2 \\* 0.1" is not a literal'),
        ("A = B = 1  # search: 0..2", "one name one value"),
        ("A, B = 1, 2  # search: 0..2", "one name one value"),
        ("A: int  # search: 0..2", "one name one value"),
        ("A = 1; B = 2  # search: 0..2", "alone on its line"),
        ("class C:\n    A = 1  # search: 0..2", "line 2: only an assignment at the top level"),
        ("A = {\n    'lr': 1,  # search: 0..2\n}", "line 2: only an assignment at the top level"),
        ("A += 1  # search: 0..2", "only an assignment"),
        ("A = 1  # search: 0..2\nA = 2  # search: 0..2", "A is marked twice"),
        ("A = (  # search: 0..2", "line 1 is not valid Python"),
    ],
)
def test_a_mark_that_cannot_be_followed_is_named(source: str, says: str):
    with pytest.raises(ProposerError, match=says):
        find_constants({"train.py": source})


def test_only_python_files_are_read():
    assert find_constants({"kernel.cu": "int n = 1; // search: 1..3\n"}) == {}


def test_a_name_is_given_its_file_only_where_two_files_use_it():
    files = {"a.py": "LR = 1  # search: 1..3\nN = 1  # search: 1..3\n", "b.py": "LR = 1  # search: 1..3\n"}
    assert list(labels(find_constants(files)).values()) == ["a.py:LR", "N", "b.py:LR"]


numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(numbers, st.floats(1e-3, 1e6), st.floats(-0.5, 1.5))
def test_written_floats_are_short_in_the_range_and_read_back_the_same(low: float, width: float, where: float):
    domain = Range(low, low + width, log=False, whole=False)
    text = domain.text(low + width * where)
    value = ast.literal_eval(text)
    assert type(value) is float
    assert domain.low <= value <= domain.high
    assert domain.canonical(value) == text
    assert abs(value - min(max(low + width * where, domain.low), domain.high)) <= width / 20


def test_floats_have_three_digits_and_more_only_where_the_range_is_narrow():
    assert Range(0.005, 0.2, log=True, whole=False).text(0.028412345) == "0.0284"
    assert Range(1e-6, 1e-3, log=True, whole=False).text(1.23456e-5) == "1.23e-05"
    assert Range(0.99, 0.9999, log=False, whole=False).text(0.995678) == "0.99568"


def test_a_literal_of_another_kind_is_outside_a_range():
    whole, real = Range(1, 6, log=False, whole=True), Range(1, 6, log=False, whole=False)
    assert [whole.holds(text) for text in ("1", "6", "7", "2.0", "'x'", "None")] == [True, True] + [False] * 4
    assert [real.holds(text) for text in ("1.0", "2", "6.1", "'x'", "True")] == [True, True] + [False] * 3


@pytest.mark.parametrize(
    "domain",
    [
        Range(1, 6, log=False, whole=True),
        Range(1, 10**9, log=True, whole=True),
        Range(0.001, 10, log=True, whole=False),
        Choices(("'a'", "None")),
    ],
)
def test_a_grid_holds_each_value_once_from_end_to_end(domain: Range | Choices):
    grid = list(domain.grid())
    assert len(set(grid)) == len(grid) <= 1001
    assert all(domain.holds(text) for text in grid)
    if isinstance(domain, Range):
        assert [float(grid[0]), float(grid[-1])] == [domain.low, domain.high]
