"""What machine this is: the facts that measured figures depend on. Reads Linux's own files; never raises."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

UNKNOWN = "unknown"

#: Present when an NVIDIA driver is loaded; the last one is how the Windows subsystem for Linux offers a GPU.
NVIDIA_SIGNS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")
NVIDIA_SMI = ("--query-gpu=uuid,name,memory.total,driver_version", "--format=csv,noheader,nounits")
INSTANCES = ("gpu_instance_id", "compute_instance_id")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU.

    Args:
        uuid: as in ``CUDA_VISIBLE_DEVICES``, ``GPU-...``.
        name: the model.
        memory_mb: its memory in MiB, None when the driver's tool is not there to tell.
        driver: the driver's version.
        minor: its device node is ``/dev/nvidia<minor>``, None when only the driver's own files tell.
    """

    uuid: str
    name: str
    memory_mb: int | None
    driver: str
    minor: int | None = None

    def __str__(self) -> str:
        return self.name if self.memory_mb is None else f"{self.name} {gib(self.memory_mb << 20)}"


@dataclass(frozen=True, slots=True)
class Slice:
    """One MIG device, a part of a GPU: its own UUID, the GPU's, and the numbers of its two instances."""

    uuid: str
    gpu: str
    gpu_instance: int
    compute_instance: int


def fingerprint() -> dict[str, str]:
    """The machine in words, equal on two machines whose figures may be compared.

    Returns:
        ``cpu`` (model), ``cores`` (that this process may use), ``memory``, ``gpu`` (models and memory,
        or ``none``), ``os`` (system and kernel), ``python``.
    """
    return {
        "cpu": cpu_model(),
        "cores": str(cores()),
        "memory": gib(memory_bytes()),
        "gpu": ", ".join(str(gpu) for gpu in usable_gpus()) or "none",
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def gpus() -> list[str]:
    """Models of the GPUs that CUDA would offer this process, in its order."""
    return [gpu.name for gpu in usable_gpus()]


def usable_gpus() -> list[Gpu]:
    """The GPUs that CUDA would offer this process: all of them, or those in ``CUDA_VISIBLE_DEVICES``.

    Numbers there are taken in the order of the PCI bus; CUDA itself does so only with
    ``CUDA_DEVICE_ORDER=PCI_BUS_ID``, which matters where the models differ.
    """
    return visible(installed_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(installed: list[Gpu], setting: str | None) -> list[Gpu]:
    """Those of ``installed`` that a value of ``CUDA_VISIBLE_DEVICES`` leaves, None standing for unset.

    Entries are numbers or the beginnings of UUIDs; the first that names no GPU hides itself and all
    after it. Source: CUDA C++ Programming Guide, "CUDA Environment Variables".
    """
    if setting is None:
        return installed
    left: list[Gpu] = []
    for entry in setting.split(","):
        named = _named(installed, entry.strip())
        if named is None:
            break
        left.append(named)
    return left


def _named(installed: list[Gpu], entry: str) -> Gpu | None:
    if entry.startswith("MIG-"):  # a slice of a GPU: a device of its own, which only the driver can describe
        return Gpu(entry, "MIG slice", None, UNKNOWN)
    if entry.isascii() and entry.isdigit():
        number = int(entry[:9])
        return installed[number] if number < len(installed) else None
    matches = [gpu for gpu in installed if entry.startswith("GPU-") and gpu.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


@functools.cache
def _ask_driver() -> tuple[Gpu, ...]:
    # Asked once a process: nvidia-smi takes tens of milliseconds, and more on a GPU that sleeps.
    if not any(os.path.exists(sign) for sign in NVIDIA_SIGNS):
        return ()
    return tuple(from_nvidia_smi() or from_proc(Path("/proc/driver/nvidia")))


def installed_gpus() -> list[Gpu]:
    """Every NVIDIA GPU of this machine, in the order of the PCI bus."""
    return list(_ask_driver())


def from_nvidia_smi() -> list[Gpu]:
    """What the driver's own tool says; empty when it is missing or fails."""
    return parse_nvidia_smi(_nvidia_smi(*NVIDIA_SMI))


def gpu_memory_used_mb(uuid: str) -> int | None:
    """MiB of a GPU's memory in use now, None when the driver's tool cannot tell."""
    text = _nvidia_smi(f"--id={uuid}", "--query-gpu=memory.used", NVIDIA_SMI[1]).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def gpu_holders(uuid: str) -> list[str]:
    """Who computes on a GPU now, as ``process NUMBER (MiB)``; empty when the driver's tool names nobody."""
    text = _nvidia_smi(f"--id={uuid}", "--query-compute-apps=pid,used_memory", NVIDIA_SMI[1])
    pairs = (line.partition(",") for line in text.splitlines())
    return [f"process {pid.strip()} ({mb.strip()} MiB)" for pid, comma, mb in pairs if comma and pid.strip().isdigit()]


def slices() -> list[Slice]:
    """Every MIG device of this machine, as the driver's own tool tells."""
    return parse_slices(_nvidia_smi("-L"), _nvidia_smi("-q", "-x"))


def _nvidia_smi(*arguments: str) -> str:
    """What the driver's own tool prints; nothing when it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        answer = subprocess.run([program, *arguments], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.decode(errors="replace")


def parse_slices(listed: str, described: str) -> list[Slice]:
    """MIG devices from ``nvidia-smi -L``, which has their UUIDs, and ``-q -x``, which has their instances.

    Each numbers the devices of a GPU in its own way that is the same in both. What is not in both is left out.
    """
    uuids: dict[tuple[str, str], str] = {}
    gpu = ""
    for line in listed.splitlines():
        if whole := re.search(r"^GPU .*UUID: (GPU-[^)]+)", line):
            gpu = whole[1]
        elif part := re.search(r"^\s+MIG .*Device\s+(\d+):.*UUID: (MIG-[^)]+)", line):
            uuids[gpu, part[1]] = part[2]
    try:
        root = ElementTree.fromstring(described)
    except ElementTree.ParseError:
        return []
    found = []
    for element in root.iter("gpu"):
        gpu = element.findtext("uuid", "").strip()
        for part_of in element.iter("mig_device"):
            fields = [part_of.findtext(name, "").strip() for name in ("index", *INSTANCES)]
            uuid = uuids.get((gpu, fields[0]))
            if uuid and fields[1].isdecimal() and fields[2].isdecimal():
                found.append(Slice(uuid, gpu, int(fields[1]), int(fields[2])))
    return found


def parse_nvidia_smi(text: str) -> list[Gpu]:
    """GPUs from the lines ``uuid, name, MiB, driver version``; a line of another shape is left out."""
    found: list[Gpu] = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 4 and fields[0].startswith("GPU-"):
            memory = int(fields[2]) if fields[2].isascii() and fields[2].isdigit() else None
            found.append(Gpu(fields[0], fields[1], memory, fields[3]))
    return found


def from_proc(folder: Path) -> list[Gpu]:
    """What the driver itself shows in ``/proc/driver/nvidia``: no memory size there.

    In the order of the PCI bus. A UUID has question marks as long as nobody has used the GPU.
    """
    version = _read(folder / "version")
    words = version.partition("Kernel Module")[2].split()
    driver = next((word for word in words if word[0].isdigit()), UNKNOWN)
    found: list[Gpu] = []
    for information in sorted(folder.glob("gpus/*/information")):
        facts = dict(_colon_pairs(_read(information)))
        text = facts.get("Device Minor", "")
        minor = int(text) if text.isascii() and text.isdigit() else None
        found.append(Gpu(facts.get("GPU UUID", UNKNOWN), facts.get("Model", UNKNOWN), None, driver, minor))
    return found


def capability_minor(file: Path) -> int | None:
    """Of a file in ``/proc/driver/nvidia/capabilities``: its device node is ``/dev/nvidia-caps/nvidia-cap<minor>``."""
    text = dict(_colon_pairs(_read(file))).get("DeviceFileMinor", "")
    return int(text) if text.isascii() and text.isdigit() else None


def cpu_model() -> str:
    """The processor's name as the kernel shows it; its architecture where the kernel shows none."""
    facts = dict(reversed(_colon_pairs(_read(Path("/proc/cpuinfo")))))  # reversed: the first core's stay
    if "model name" in facts:
        return facts["model name"]
    # Arm kernels give numbers in place of a name.
    numbers = [facts[name] for name in ("CPU implementer", "CPU part") if name in facts]
    return " ".join([platform.machine() or UNKNOWN, *numbers])


def cores() -> int:
    """Cores that this process may run on, which ``taskset`` and containers make fewer than there are."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int | None:
    """Memory that this process may use: the machine's, or its container's limit where that is less."""
    total = dict(_colon_pairs(_read(Path("/proc/meminfo")))).get("MemTotal", "").split()
    sizes = [int(total[0]) << 10] if total else []
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(Path(limit)).strip()
        if text.isdigit():  # it reads `max` when there is none
            sizes.append(int(text))
    return min(sizes, default=None)


def gib(size: float | None) -> str:
    """``size`` bytes in GiB, for people; whole above ten, where two kernels differ by a little."""
    if size is None:
        return UNKNOWN
    value = size / 2**30
    return f"{value:.0f} GiB" if value >= 10 else f"{value:.1f} GiB"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _colon_pairs(text: str) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in text.splitlines())
    return [(name.strip(), value.strip()) for name, colon, value in pairs if colon]
