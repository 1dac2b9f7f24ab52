"""The fingerprint is taken from this machine; the GPU parts are shown what drivers print elsewhere."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from looper import hardware
from looper.hardware import Gpu

A = Gpu("GPU-aaaa1111-0000-0000-0000-000000000001", "NVIDIA H100 80GB HBM3", 81559, "580.65.06")
B = Gpu("GPU-bbbb2222-0000-0000-0000-000000000002", "NVIDIA GeForce RTX 4090", 24564, "580.65.06")

NVIDIA_SMI = f"""\
{A.uuid}, NVIDIA H100 80GB HBM3, 81559, 580.65.06
{B.uuid}, NVIDIA GeForce RTX 4090, 24564, 580.65.06
GPU-cccc, NVIDIA GB10, [N/A], 580.65.06
Unable to determine the device handle for GPU0: Unknown Error
"""


def fingerprint_in(env: dict[str, str], *before: str) -> str:
    """The fingerprint printed by a Python process of its own, after the statements ``before``."""
    code = "; ".join(["import os", *before, "from looper import hardware", "print(hardware.fingerprint())"])
    answer = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True, check=True
    )
    return answer.stdout


def test_fingerprint_describes_this_machine() -> None:
    facts = hardware.fingerprint()
    assert list(facts) == ["cpu", "cores", "memory", "gpu", "os", "python"]
    assert all(type(value) is str and value for value in facts.values())
    assert facts["cores"] == str(len(os.sched_getaffinity(0)))
    assert facts["os"].endswith(platform.release())
    assert facts["python"] == platform.python_version()
    assert facts["memory"].endswith(" GiB")


def test_fingerprint_is_the_same_every_time() -> None:
    assert fingerprint_in({}) == fingerprint_in({})


def test_cores_are_those_this_process_may_use() -> None:
    assert "'cores': '1'" in fingerprint_in({}, "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})")


def test_hidden_gpus_are_not_in_the_fingerprint() -> None:
    assert "'gpu': 'none'" in fingerprint_in({"CUDA_VISIBLE_DEVICES": ""})


def test_nvidia_smi_lines() -> None:
    found = hardware.parse_nvidia_smi(NVIDIA_SMI)
    assert found == [A, B, Gpu("GPU-cccc", "NVIDIA GB10", None, "580.65.06")]
    assert str(found[0]) == "NVIDIA H100 80GB HBM3 80 GiB"
    assert str(found[2]) == "NVIDIA GB10"


def test_nvidia_smi_is_asked_as_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    answer = f"{A.uuid}, X, 10, 1.0"
    program.write_text(f"#!/bin/sh\n[ $1 = --query-gpu=uuid,name,memory.total,driver_version ] && echo '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert hardware.from_nvidia_smi() == [Gpu(A.uuid, "X", 10, "1.0")]


def test_failing_nvidia_smi_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'could not reach the driver'; exit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert hardware.from_nvidia_smi() == []


def test_gpus_from_the_drivers_own_files(tmp_path: Path) -> None:
    for bus, name in (("0000:41:00.0", B.name), ("0000:01:00.0", A.name)):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
        text = f"Model: \t\t {name}\nIRQ:   \t\t 75\nGPU UUID: \t GPU-{bus[5:7]}\nBus Location: \t {bus}\n"
        text += "Device Minor: \t 3\n" if name == A.name else ""
        (tmp_path / "gpus" / bus / "information").write_text(text)
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    )
    assert hardware.from_proc(tmp_path) == [
        Gpu("GPU-01", A.name, None, "580.65.06", 3),
        Gpu("GPU-41", B.name, None, "580.65.06"),
    ]
    assert hardware.from_proc(tmp_path / "absent") == []


LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa)
  MIG 3g.20gb     Device  0: (UUID: MIG-one)
  MIG 1g.5gb      Device  1: (UUID: MIG-two)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bb)
  MIG 3g.20gb     Device  0: (UUID: MIG-three)
"""
MIG = "<mig_device><index>{}</index><gpu_instance_id>{}</gpu_instance_id><compute_instance_id>{}</compute_instance_id>"
DESCRIBED = (
    "<?xml version='1.0' ?><!DOCTYPE nvidia_smi_log SYSTEM 'nvsmi_device_v12.dtd'><nvidia_smi_log>{}</nvidia_smi_log>"
)
GPU = "<gpu id='00000000:01:00.0'><uuid>{}</uuid><mig_devices>{}</mig_devices></gpu>"


def test_slices_of_gpus() -> None:
    first = GPU.format(
        "GPU-aa", "".join(MIG.format(*ids) + "</mig_device>" for ids in [(0, 2, 0), (1, 9, 1), (5, 5, 5)])
    )
    second = GPU.format("GPU-bb", MIG.format(0, "N/A", 0) + "</mig_device>")
    assert hardware.parse_slices(LISTED, DESCRIBED.format(first + second)) == [
        hardware.Slice("MIG-one", "GPU-aa", 2, 0),
        hardware.Slice("MIG-two", "GPU-aa", 9, 1),
    ]
    assert hardware.parse_slices(LISTED, "") == hardware.parse_slices("", DESCRIBED.format(first)) == []


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, [A, B]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", [A]),
        ("1,0", [B, A]),
        (" 1 , 0 ", [B, A]),
        ("0,7,1", [A]),
        ("GPU-bbbb", [B]),
        (A.uuid, [A]),
        ("GPU-", []),
        ("99999999999999999999", []),
    ],
)
def test_cuda_visible_devices(setting: str | None, left: list[Gpu]) -> None:
    assert hardware.visible([A, B], setting) == left


def test_a_slice_of_a_gpu_counts_as_one() -> None:
    assert [gpu.name for gpu in hardware.visible([A], "MIG-1234")] == ["MIG slice"]


@given(st.text(alphabet="019-,GPUMIabx ²٣"))
def test_any_setting_is_taken(setting: str) -> None:
    left = hardware.visible([A, B], setting)
    assert len(left) <= setting.count(",") + 1
    assert all(gpu in (A, B) or gpu.name == "MIG slice" for gpu in left)
