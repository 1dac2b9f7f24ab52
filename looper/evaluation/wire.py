"""The wire format between an evaluator and a worker: plain values and raw arrays, never objects.

A frame is a 12-byte prefix (header length u32, payload length u64, big-endian), a JSON header and the
payload. In the header a JSON object always has one key that says what it is: ``{"d": {...}}`` a dict,
``{"a": [dtype, shape]}`` an array and ``{"b": n}`` bytes, whose data follow each other in the payload;
``{"m": [dtype, shape]}`` an array in a memory file whose descriptor came along, in order,
``{"g": [dtype, shape]}`` one in a GPU's memory. Everything else is JSON. Nothing that is decoded can run code,
and every size is bounded before memory is taken for it.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from looper.evaluation.gpu_memory import DeviceArray, DeviceBuffer

if TYPE_CHECKING:
    import numpy as np

PREFIX = struct.Struct(">IQ")
MAX_HEADER = 1 << 20
MAX_DEPTH = 16
MAX_FDS = 64  # of one frame; the kernel's own limit is 253
MAX_SIDE = 1 << 40  # of an array
DTYPES = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split())


class WireError(ValueError):
    """A value that cannot be sent, or a frame that is not one. The text says what is wrong with it."""


class Frame(NamedTuple):
    """What is sent for one value: prefix and header, the payload's parts, descriptors of memory files."""

    head: bytes
    parts: list[memoryview]
    fds: list[int]


class Buffer:
    """An array in a memory file that both processes map.

    Attributes:
        array: this side's view; read-only when the file was sealed.
        fd: descriptor of the memory file.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, source: np.ndarray | None = None) -> None:
        import fcntl

        import numpy as np

        if dtype not in DTYPES:
            raise WireError(f"arrays of dtype {dtype} cannot be sent")
        self.shape, self.dtype = tuple(int(side) for side in shape), dtype
        size = math.prod(self.shape) * np.dtype(dtype).itemsize
        self.fd = os.memfd_create("looper", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, max(size, 1))
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
        if source is not None:
            view = mmap.mmap(self.fd, max(size, 1))
            np.frombuffer(view, dtype, math.prod(self.shape)).reshape(self.shape)[...] = source
            view.close()
            seals |= fcntl.F_SEAL_WRITE
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_SEAL)
        self.array = map_array(self.fd, self.dtype, self.shape)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


def map_array(fd: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array in a memory file; writable unless the file is sealed against writing."""
    import numpy as np

    size = max(math.prod(shape) * np.dtype(dtype).itemsize, 1)
    try:
        view = mmap.mmap(fd, size)
    except PermissionError:
        view = mmap.mmap(fd, size, prot=mmap.PROT_READ)
    return np.frombuffer(view, dtype, math.prod(shape)).reshape(shape)


def encode(value: Any) -> Frame:
    """The frame for ``value``.

    Raises:
        WireError: when ``value`` holds anything but None, bool, int, float, str, bytes, list, tuple, dict
            with str keys, numpy arrays of the plain dtypes, :class:`Buffer` and ``DeviceBuffer``; or when it is
            too large.
    """
    parts: list[memoryview] = []
    fds: list[int] = []
    try:
        header = json.dumps(_pack(value, parts, fds, 0), separators=(",", ":")).encode()
    except WireError:
        raise
    except ValueError as error:  # an int of thousands of digits
        raise WireError(f"a value that cannot be written down: {error}") from None
    if len(header) > MAX_HEADER:
        raise WireError(f"a message of {len(header)} bytes without its arrays (the limit is {MAX_HEADER})")
    if len(fds) > MAX_FDS:
        raise WireError(f"{len(fds)} shared arrays in one message (the limit is {MAX_FDS})")
    return Frame(PREFIX.pack(len(header), sum(part.nbytes for part in parts)) + header, parts, fds)


def _pack(value: Any, parts: list[memoryview], fds: list[int], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"values nested deeper than {MAX_DEPTH}")
    kind = type(value)
    if value is None or kind in (bool, int, float):
        return value
    if kind is str:
        return _text(value)
    if kind in (list, tuple):
        return [_pack(item, parts, fds, depth + 1) for item in value]
    if kind is dict:
        if not all(type(key) is str for key in value):
            raise WireError("a dict with keys that are not str")
        return {"d": {_text(key): _pack(item, parts, fds, depth + 1) for key, item in value.items()}}
    if kind in (bytes, bytearray):
        parts.append(memoryview(value))
        return {"b": len(value)}
    if kind in (Buffer, DeviceBuffer):
        fds.append(value.fd)
        return {"m" if kind is Buffer else "g": [value.dtype, list(value.shape)]}
    if kind.__module__ == "numpy":
        import numpy as np

        if isinstance(value, np.ndarray) and value.dtype.name in DTYPES:
            native = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))
            parts.append(native.reshape(-1).view(np.uint8).data)
            return {"a": [value.dtype.name, list(value.shape)]}
        if isinstance(value, np.generic) and value.dtype.name in DTYPES:
            return value.item()
        raise WireError(f"a numpy {kind.__name__} of dtype {getattr(value, 'dtype', '?')}")
    raise WireError(f"a value of type {kind.__module__}.{kind.__qualname__}; send plain values and numpy arrays")


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise WireError("text with half a surrogate pair in it") from None
    return value


def lengths(prefix: bytes | bytearray, max_payload: int) -> tuple[int, int]:
    """(header, payload) lengths from a frame's first 12 bytes.

    Raises:
        WireError: when either is larger than allowed.
    """
    header, payload = PREFIX.unpack(prefix)
    if header > MAX_HEADER:
        raise WireError(f"a message of {header} bytes without its arrays (the limit is {MAX_HEADER})")
    if payload > max_payload:
        raise WireError(f"{payload} bytes of arrays (the limit is {max_payload})")
    return header, payload


def decode(header: bytes | bytearray, payload: bytearray, fds: list[int] | None = None) -> Any:
    """The value of a frame. Arrays are views into ``payload``: writable, and valid as long as it lives.

    Raises:
        WireError: when the frame is anything but what :func:`encode` makes.
    """
    try:
        tree = json.loads(header.decode(), object_pairs_hook=_no_key_twice)
        reader = _Reader(payload, list(fds or ()))
        value = reader.unpack(tree, 0)
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError(f"a message that is not valid: {error}") from None
    if reader.offset != len(payload) or reader.fds:
        raise WireError("a message whose parts do not add up")
    return value


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise WireError("a message with the same key twice")
    return items


class _Reader:
    def __init__(self, payload: bytearray, fds: list[int]) -> None:
        self.view, self.offset, self.fds = memoryview(payload), 0, fds

    def unpack(self, node: Any, depth: int) -> Any:
        if depth > 2 * MAX_DEPTH + 2:
            raise WireError(f"values nested deeper than {MAX_DEPTH}")
        if isinstance(node, list):
            return [self.unpack(item, depth + 1) for item in node]
        if isinstance(node, str):
            return _text(node)
        if not isinstance(node, dict):
            return node
        if len(node) != 1:
            raise WireError("a message with an unknown kind of value")
        ((kind, body),) = node.items()
        if kind == "d" and isinstance(body, dict):
            return {_text(key): self.unpack(item, depth + 1) for key, item in body.items()}
        if kind == "b" and type(body) is int and body >= 0:
            return bytes(self.take(body))
        if kind in ("a", "m", "g") and isinstance(body, list) and len(body) == 2:
            return self.array(kind, *body)
        raise WireError("a message with an unknown kind of value")

    def array(self, kind: str, dtype: Any, shape: Any) -> np.ndarray | DeviceArray:
        import numpy as np

        if not (isinstance(dtype, str) and dtype in DTYPES):
            raise WireError(f"an array of dtype {str(dtype)[:40]}")
        sides = isinstance(shape, list) and all(type(n) is int and 0 <= n <= MAX_SIDE for n in shape)
        if not sides or len(shape) > 32:
            raise WireError("an array with an impossible shape")
        if kind in ("m", "g"):
            if not self.fds:
                raise WireError("an array whose memory file is missing")
            fd = self.fds.pop(0)
            if kind == "g":
                return DeviceArray(fd, tuple(shape), dtype)
            try:
                return map_array(fd, dtype, tuple(shape))
            finally:
                os.close(fd)
        count = math.prod(shape)
        data = self.take(count * np.dtype(dtype).itemsize)
        array = np.frombuffer(data, dtype, count).reshape(shape)
        return array if array.flags.aligned else array.copy()

    def take(self, size: int) -> memoryview:
        if size > len(self.view) - self.offset:
            raise WireError("a message whose parts do not add up")
        self.offset += size
        return self.view[self.offset - size : self.offset]
