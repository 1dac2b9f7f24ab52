"""GPU memory shared between processes, with a driver whose memory is a file; a real one where there is a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from looper.evaluation.gpu_memory import DeviceBuffer

EVALUATOR = """
import ctypes, socket, subprocess, sys
from looper.evaluation import wire
from looper.evaluation.gpu_memory import DeviceBuffer

buffer = DeviceBuffer((3, 5), "float32")
interface = buffer.array.__cuda_array_interface__
assert interface["shape"] == (3, 5) and interface["typestr"] == "<f4"
assert interface["data"] == (buffer.array.pointer, False)
frame = wire.encode({"logits": buffer})
ours, theirs = socket.socketpair()
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(theirs.fileno())], pass_fds=[theirs.fileno()])
socket.send_fds(ours, [frame.head], frame.fds)
assert worker.wait() == 0
print(*(ctypes.c_float * 15).from_address(buffer.array.pointer))
"""
WORKER = """
import ctypes, socket, sys
from looper.evaluation import wire

data, fds, _, _ = socket.recv_fds(socket.socket(fileno=int(sys.argv[1])), 1 << 16, 8)
header, payload = wire.lengths(data[:12], 0)
array = wire.decode(data[12:], bytearray(), fds)["logits"]
assert array.shape == (3, 5) and array.dtype == "float32"
(ctypes.c_float * 15).from_address(array.pointer)[:] = range(15)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("libcuda.c")
    command = ["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(folder / "libcuda.so.1"), str(source)]
    subprocess.run(command, check=True)
    return folder


def test_what_one_process_writes_the_other_reads(driver: Path) -> None:
    env = {**os.environ, "LD_LIBRARY_PATH": str(driver), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", EVALUATOR, WORKER], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(float(n)) for n in range(15)]


def test_a_dtype_that_is_not_shared(driver: Path) -> None:
    with pytest.raises(OSError, match=r"complex64|libcuda"):
        DeviceBuffer((2,), "complex64")


@pytest.mark.gpu
def test_a_real_driver_shares_with_torch() -> None:
    import torch

    buffer = DeviceBuffer((4, 1024), "float16")
    tensor = torch.as_tensor(buffer.array, device="cuda")
    tensor.fill_(2.0)
    again = torch.as_tensor(buffer.array, device="cuda")
    assert tensor.data_ptr() == again.data_ptr() == buffer.array.pointer
    assert float(again.sum()) == 2.0 * 4096
