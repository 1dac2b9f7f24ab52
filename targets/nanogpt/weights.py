"""Weights as bytes in the safetensors format (huggingface.co/docs/safetensors), written and read here.

The format is a little-endian u64, that many bytes of JSON (name -> dtype, shape, data_offsets) and the raw
tensors. Thirty lines of it are enough for a worker, and reading them can run no code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import torch

NAMES = {
    torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip
DTYPES = {name: dtype for dtype, name in NAMES.items()}


def dump(tensors: Mapping[str, torch.Tensor]) -> np.ndarray:
    """The tensors as one uint8 array. ValueError for a dtype that the format does not have."""
    header: dict[str, object] = {}
    parts: list[np.ndarray] = []
    offset = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise ValueError(f"the weights hold {name!r} of dtype {tensor.dtype}, which safetensors has no name for")
        flat = tensor.detach().cpu().contiguous().view(-1)
        parts.append(flat.view(torch.uint8).numpy())
        end = offset + parts[-1].size
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return np.concatenate([np.frombuffer(len(text).to_bytes(8, "little") + text, np.uint8), *parts])


def load(data: np.ndarray) -> dict[str, torch.Tensor]:
    """The tensors in a uint8 array that :func:`dump` or safetensors wrote. ValueError when it is neither."""
    length = int.from_bytes(data[:8].tobytes(), "little")
    if data.size < 8 or length > data.size - 8:
        raise ValueError("the weights are not in the safetensors format: the header is cut short")
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    body = torch.from_numpy(data[8 + length :].copy())
    return {name: _tensor(name, entry, body) for name, entry in header.items()}


def _tensor(name: str, entry: Mapping[str, object], body: torch.Tensor) -> torch.Tensor:
    dtype, shape, (start, end) = DTYPES[str(entry["dtype"])], entry["shape"], entry["data_offsets"]
    if not 0 <= start <= end <= body.numel() or end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the weights are not in the safetensors format: {name!r} does not fit its place")
    return body[start:end].clone().view(dtype).view(shape)
