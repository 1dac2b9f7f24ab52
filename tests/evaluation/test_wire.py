"""What crosses between evaluator and worker is plain values and raw arrays, and nothing else gets through."""

from __future__ import annotations

import ctypes
import json
import math
import mmap
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from looper.evaluation import wire
from looper.evaluation.wire import Buffer, WireError


def through(value: Any, fds: list[int] | None = None) -> Any:
    """What the other side gets."""
    frame = wire.encode(value)
    header, payload = wire.lengths(frame.head[: wire.PREFIX.size], 1 << 30)
    body = bytearray(b"".join(frame.parts))
    assert (len(frame.head) - wire.PREFIX.size, len(body)) == (header, payload)
    return wire.decode(frame.head[wire.PREFIX.size :], body, [os.dup(fd) for fd in frame.fds])


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")) | st.binary()
DTYPES = st.sampled_from(sorted(wire.DTYPES)).map(np.dtype)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, list):
        return type(b) is list and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and math.isnan(a):
        return type(b) is float and math.isnan(b)
    return type(a) is type(b) and a == b


@given(VALUES)
def test_values_come_through_unchanged(value: Any) -> None:
    assert same(value, through(value))


KINDS = st.sampled_from(["d", "a", "b", "m", "x"])
NODES = st.recursive(
    SCALARS.filter(lambda value: type(value) is not bytes)
    | st.tuples(st.sampled_from([*wire.DTYPES, "object", "O", "float99"]), st.lists(st.integers(-2, 1 << 70)))
    | st.integers(-2, 1 << 70),
    lambda inner: st.lists(inner) | st.dictionaries(KINDS | st.text(), inner, max_size=2),
    max_leaves=8,
)


@given(st.binary() | NODES.map(json.dumps).map(str.encode), st.binary(max_size=64))
def test_whatever_is_decoded_nothing_but_a_wire_error_comes_of_it(header: bytes, payload: bytes) -> None:
    try:
        value = wire.decode(header, bytearray(payload))
    except WireError:
        return
    wire.encode(value)  # what was let through is plain


@given(st.binary(min_size=12, max_size=12))
def test_lengths_are_bounded(prefix: bytes) -> None:
    try:
        header, payload = wire.lengths(prefix, 1000)
    except WireError:
        return
    assert header <= wire.MAX_HEADER
    assert payload <= 1000


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.arange(6.0).reshape(2, 3).T, np.arange(6.0).reshape(2, 3).T.copy()),
        (np.arange(10)[::-3], np.array([9, 6, 3, 0])),
        (np.arange(3, dtype=">i4"), np.arange(3, dtype="int32")),
        (np.array(2.5, dtype=">f8"), np.array(2.5)),
        (np.zeros((3, 0, 2), "float16"), np.zeros((3, 0, 2), "float16")),
        (np.broadcast_to(np.float32(1), (2, 2)), np.ones((2, 2), "float32")),
    ],
)
def test_arrays_of_every_layout(array: np.ndarray, expected: np.ndarray) -> None:
    assert same(expected, through(array))


def test_arrays_are_aligned_and_writable_whatever_comes_before_them() -> None:
    _, array = through([b"123", np.arange(3.0)])
    assert array.flags.aligned
    array[:] = 1
    assert array.tolist() == [1, 1, 1]


def test_numpy_scalars_become_plain_numbers_and_tuples_lists() -> None:
    got = through((np.float32(0.5), np.int64(3), np.bool_(True)))
    assert got == [0.5, 3, True]
    assert [type(value) for value in got] == [float, int, bool]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        1j,
        {1: 2},
        {1, 2},
        print,
        np.array([object()]),
        np.array(["text"]),
        np.zeros(2, [("a", int)]),
        np.datetime64("now"),
        np.ma.masked_array([1.0]),
        type("Shy", (np.ndarray,), {})((2,)),
        10**5000,
        "\ud800",
        {"\udfff": 1},
        ["x" * 1000] * 2000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_sent(value: Any) -> None:
    with pytest.raises(WireError):
        wire.encode(value)


def test_nesting_is_bounded_on_both_sides() -> None:
    value: list[Any] = []
    for _ in range(wire.MAX_DEPTH):
        value = [value]
    assert same(value, through(value))
    with pytest.raises(WireError, match="nested deeper than 16"):
        wire.encode([value])


def test_a_list_that_holds_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(WireError, match="nested deeper than 16"):
        wire.encode(value)


def test_a_shared_array_is_read_only_for_good() -> None:
    source = np.arange(4.0)
    buffer = Buffer(source.shape, "float64", source)
    array = through(buffer)
    assert array.tolist() == [0, 1, 2, 3]
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    with pytest.raises(PermissionError):
        os.pwrite(buffer.fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.fd, 0)
    with pytest.raises(PermissionError):
        mmap.mmap(buffer.fd, 32)
    page = array.ctypes.data & ~(mmap.PAGESIZE - 1)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(32), mmap.PROT_READ | mmap.PROT_WRITE) == -1
    assert buffer.array.tolist() == [0, 1, 2, 3]


def test_a_buffer_is_seen_by_both_sides_and_keeps_its_size() -> None:
    buffer = Buffer((2, 2), "int16")
    array = through(buffer)
    array[0, 1] = 5
    assert buffer.array.tolist() == [[0, 5], [0, 0]]
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.fd, 0)


@pytest.mark.parametrize("shape", [(0,), (), (3, 0), (np.int64(2),)])
def test_small_buffers(shape: tuple[int, ...]) -> None:
    buffer = Buffer(shape, "float32")
    assert through(buffer).shape == buffer.array.shape == shape


def test_big_endian_arrays_can_be_shared() -> None:
    source = np.array([1, 2], ">i4")
    assert Buffer(source.shape, source.dtype.name, source).array.tolist() == [1, 2]


def test_a_buffer_returns_what_it_took() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        through([Buffer((8,), "int8"), Buffer((2,), "float32", np.zeros(2))])
    assert len(os.listdir("/proc/self/fd")) == before
