"""Runs in the worker: holds the candidate, answers calls. Everything it says is a claim.

Candidate code shares this process and can change anything here; that is expected. What must hold against
it lives in the evaluator and in the sandbox.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import threading
import time
import traceback
from types import ModuleType
from typing import Any

from looper.evaluation import wire

PROGRESS_EVERY_S = 0.1
MAX_FRAME = 1 << 40  # the evaluator is trusted; its frames are as large as it likes

_channel: socket.socket | None = None
_sending = threading.Lock()  # a candidate may report its progress from a thread
_last_progress = 0.0


def progress(**values: float) -> None:
    """Tell the evaluator how it goes, for the live line. Cheap: sent at most ten times a second."""
    global _last_progress
    now = time.monotonic()
    if _channel is not None and now - _last_progress >= PROGRESS_EVERY_S:
        _last_progress = now
        _send({"progress": {name: float(value) for name, value in values.items()}})


def main(channel: int, root: str) -> None:
    """Answer calls until the evaluator closes the channel. ``root``: the folder with the candidate's files."""
    global _channel
    # line by line, so that what was printed before a kill or a crash is in the record
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if "numpy.random" in sys.modules:  # the generator of the process that this one was forked from
        sys.modules["numpy.random"].seed()
    os.set_inheritable(channel, False)
    _channel = socket.socket(fileno=channel)
    candidate: ModuleType | None = None
    callee: ModuleType | None = None
    while (message := _receive()) is not None:
        try:
            if "load" in message:
                order = message["load"]
                make_importable(root)
                sys.argv = [os.path.join(root, order["candidate"])]
                candidate = callee = _load(root, order["candidate"])
                if order["driver"]:
                    callee = _load(root, order["driver"])
                value = None
            else:
                name, args = message["call"]
                function = getattr(callee, name)
                value = function(*args) if callee is candidate else function(candidate, *args)
        except BaseException as error:
            _send({"error": _describe(error, "crash")})
            continue
        try:
            _send({"value": value})
        except wire.WireError as error:
            _send({"error": _describe(error, "value")})


def make_importable(root: str) -> None:
    """Find the target's modules before installed packages, and after the standard library's."""
    installed = (i for i, place in enumerate(sys.path) if place.endswith(("site-packages", "dist-packages")))
    sys.path.insert(next(installed, len(sys.path)), root)


def _load(root: str, path: str) -> ModuleType:
    """Import a file under its stem as the name, so that modules beside it find it too."""
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, os.path.join(root, path))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _describe(error: BaseException, kind: str) -> dict[str, str]:
    text = str(error)
    if kind == "crash":
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        kind = "oom" if is_out_of_memory(error) else kind
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename.startswith((__file__, "<frozen importlib")):
        place = place.tb_next  # from the candidate's own code on
    trace = "".join(traceback.format_exception(error.with_traceback(place)))
    return {"text": _sendable(text[:2000]), "trace": _sendable(trace[-20000:]), "kind": kind}


def is_out_of_memory(error: BaseException) -> bool:
    """Python's own error and numpy's, torch's on a GPU, and the words that torch and CUDA use elsewhere."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _send(value: Any) -> None:
    assert _channel is not None
    frame = wire.encode(value)
    with _sending:
        _channel.sendall(frame.head)
        for part in frame.parts:
            _channel.sendall(part)


def _receive() -> Any:
    """The next frame, or None when the evaluator closed the channel."""
    assert _channel is not None
    first, fds, _, _ = socket.recv_fds(_channel, wire.PREFIX.size, wire.MAX_FDS)
    if not first:
        return None
    prefix = first + _read(wire.PREFIX.size - len(first))
    header, payload = wire.lengths(prefix, MAX_FRAME)
    head = _read(header)
    return wire.decode(head, _read(payload), fds)


def _read(size: int) -> bytearray:
    assert _channel is not None
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = _channel.recv_into(view)
        if not got:
            raise SystemExit(0)
        view = view[got:]
    return data
