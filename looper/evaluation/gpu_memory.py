"""GPU memory that two processes share: allocated here, exported as a descriptor, mapped by the worker. No copy.

Through the driver's virtual memory management (CUDA Driver API, section "Virtual Memory Management"), whose
descriptors cross every namespace, as CUDA's older IPC handles do not. A GPU array is anything with
``__cuda_array_interface__``, which torch, cupy and numba take as it is.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
from typing import Any

ON_DEVICE, PINNED, AS_DESCRIPTOR, READ_WRITE = 1, 1, 1, 3  # CUmemLocationType, CUmemAllocationType, ..., CUmemAccess
TYPES = {"float16": "<f2", "float32": "<f4", "float64": "<f8", "uint8": "|u1", "int32": "<i4", "int64": "<i8"}


class Location(ctypes.Structure):
    """CUmemLocation."""

    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class Properties(ctypes.Structure):
    """CUmemAllocationProp; the flags at its end stay 0."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", Location),
        ("windows", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    )


class Access(ctypes.Structure):
    """CUmemAccessDesc."""

    _fields_ = (("location", Location), ("flags", ctypes.c_int))


class DeviceArray:
    """An array in the memory of this process's first GPU.

    Attributes: ``shape`` and ``dtype``, as numpy's, and ``fd``, the memory's descriptor, closed with the array.
    """

    def __init__(self, fd: int, shape: tuple[int, ...], dtype: str) -> None:
        self.fd, self.shape, self.dtype = fd, shape, dtype

    @functools.cached_property
    def pointer(self) -> int:
        """The device address, valid as long as the process lives.

        Raises:
            OSError: when the driver does not map the memory here.
        """
        handle = ctypes.c_ulonglong()
        size = _rounded(_size(self.shape, self.dtype), _properties())
        _call("cuMemImportFromShareableHandle", ctypes.byref(handle), ctypes.c_void_p(self.fd), AS_DESCRIPTOR)
        return _mapped(handle, size)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data = (self.pointer, False)
        return {"shape": self.shape, "typestr": TYPES[self.dtype], "data": data, "version": 3, "strides": None}

    def __del__(self) -> None:
        os.close(self.fd)


class DeviceBuffer:
    """An array in GPU memory that both processes map. Attributes: ``array``, this side's; ``fd``, for the other side.

    Raises:
        OSError: when there is no CUDA driver, or it cannot share memory.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = tuple(int(side) for side in shape), dtype
        wanted = _properties()
        size = _rounded(_size(self.shape, dtype), wanted)
        handle, fd = ctypes.c_ulonglong(), ctypes.c_int()
        _call("cuMemCreate", ctypes.byref(handle), size, ctypes.byref(wanted), ctypes.c_ulonglong(0))
        _call("cuMemExportToShareableHandle", ctypes.byref(fd), handle, AS_DESCRIPTOR, ctypes.c_ulonglong(0))
        _call("cuMemRelease", handle)  # the descriptor keeps the memory
        self.fd = fd.value
        self.array = DeviceArray(self.fd, self.shape, dtype)
        self.array.pointer  # noqa: B018  mapped now, so that a driver that cannot do it is found out


def _size(shape: tuple[int, ...], dtype: str) -> int:
    if dtype not in TYPES:
        raise OSError(f"GPU arrays of dtype {dtype} are not shared")
    return max(1, math.prod(shape)) * int(TYPES[dtype][2:])


def _properties() -> Properties:
    return Properties(PINNED, AS_DESCRIPTOR, Location(ON_DEVICE, _device()), None)


def _rounded(size: int, wanted: Properties) -> ctypes.c_size_t:
    """Up to what the driver allocates at once, 2 MiB on common GPUs."""
    step = ctypes.c_size_t()
    _call("cuMemGetAllocationGranularity", ctypes.byref(step), ctypes.byref(wanted), 0)
    return ctypes.c_size_t(-(-size // step.value) * step.value)


def _mapped(handle: ctypes.c_ulonglong, size: ctypes.c_size_t) -> int:
    """Give the memory an address here. The handle is let go: the mapping keeps the memory."""
    pointer, none = ctypes.c_ulonglong(), ctypes.c_ulonglong(0)
    _call("cuMemAddressReserve", ctypes.byref(pointer), size, ctypes.c_size_t(0), none, none)
    _call("cuMemMap", pointer, size, ctypes.c_size_t(0), handle, none)
    access = Access(Location(ON_DEVICE, _device()), READ_WRITE)
    _call("cuMemSetAccess", pointer, size, ctypes.byref(access), ctypes.c_size_t(1))
    _call("cuMemRelease", handle)
    return pointer.value


@functools.cache
def _device() -> int:
    """The first GPU, with its primary context current, which is the one that torch uses too."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _call("cuInit", 0)
    _call("cuDeviceGet", ctypes.byref(device), 0)
    _call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    _call("cuCtxSetCurrent", context)
    return device.value


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _call(name: str, *args: Any) -> None:
    """Call the driver.

    Raises:
        OSError: when there is none, or its answer is not CUDA_SUCCESS.
    """
    function = getattr(_driver(), name, None)
    if function is None:
        raise OSError(f"this CUDA driver has no {name}")
    code = function(*args)
    if code:
        raise OSError(f"{name} failed with CUDA error {code}")
