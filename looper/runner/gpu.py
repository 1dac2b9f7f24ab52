"""The GPU of a slot: the device nodes that are it, and whether its memory is free again after a run.

What is covered: the GPU's own node and those that no GPU computes without. Of a MIG slice, the nodes of its two
instances alone.
What is not covered: the driver behind the nodes is the same for all. Where ``nvidia-smi`` is missing, or does not tell
the memory in use, nothing is known of the memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from looper import hardware
from looper.errors import SessionError

DEV = Path("/dev")
DRIVER = Path("/proc/driver/nvidia")
#: For computing, as the NVIDIA container runtime has it: nvidia-modeset is for displays, and most of nvidia-caps for
#: whoever manages slices.
SHARED = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
WSL = "dxg"  # the one node of the Windows subsystem for Linux, whatever the GPU

SLACK_MB = 100  # below what a process with an empty CUDA context holds, above what a driver keeps for itself
PATIENCE_S = 15.0  # a driver frees the memory of a dead process in its own time
LOOK_EVERY_S = 0.1


class SlotGpu(NamedTuple):
    """What a slot's processes get.

    Args:
        visible: for ``CUDA_VISIBLE_DEVICES``: a UUID, which means the same whatever other GPUs can be seen.
        nodes: device nodes.
        uuid: of the whole GPU, empty when it is not known.
    """

    visible: str
    nodes: tuple[str, ...]
    uuid: str


def gpu_of(entry: str, driver: Path = DRIVER, dev: Path = DEV) -> SlotGpu:
    """The GPU that an entry of ``CUDA_VISIBLE_DEVICES`` names: a number in the order of the PCI bus, or a UUID.

    Raises:
        SessionError: when it cannot be told which node that is.
    """
    if not (dev / SHARED[0]).exists():
        nodes = (str(dev / WSL),) if (dev / WSL).exists() else ()
        named = hardware.visible(hardware.installed_gpus(), entry) if nodes else []
        return SlotGpu(entry, nodes, named[0].uuid if named else "")
    there = [gpu for gpu in hardware.from_proc(driver) if _node(gpu, dev)]
    if entry.startswith("MIG-"):
        return _slice_of(entry, there, driver, dev)
    named = [gpu for gpu in hardware.visible(there, entry) if "?" not in gpu.uuid]
    if named:
        return SlotGpu(named[0].uuid, _nodes(dev, f"nvidia{named[0].minor}"), named[0].uuid)
    (only, *others) = sorted(path.name for path in dev.glob("nvidia[0-9]*")) or [""]
    if not only or others:
        raise _unknown(entry, there, driver, dev)
    installed = hardware.visible(hardware.installed_gpus(), entry)
    return SlotGpu(entry, _nodes(dev, only), installed[0].uuid if installed else "")


def _slice_of(entry: str, there: list[hardware.Gpu], driver: Path, dev: Path) -> SlotGpu:
    part = next((part for part in hardware.slices() if part.uuid == entry), None)
    gpu = next((gpu for gpu in there if part and gpu.uuid == part.gpu), None)
    if part is None or gpu is None:
        raise _unknown(entry, there, driver, dev)
    instance = driver / "capabilities" / f"gpu{gpu.minor}" / "mig" / f"gi{part.gpu_instance}"
    caps = [
        hardware.capability_minor(place / "access") for place in (instance, instance / f"ci{part.compute_instance}")
    ]
    if None in caps:
        raise _unknown(entry, there, driver, dev)
    names = (f"nvidia-caps/nvidia-cap{minor}" for minor in caps)
    return SlotGpu(entry, _nodes(dev, f"nvidia{gpu.minor}", *names), gpu.uuid)


def _nodes(dev: Path, *names: str) -> tuple[str, ...]:
    return tuple(str(dev / name) for name in (*SHARED, *names) if (dev / name).exists())


def _node(gpu: hardware.Gpu, dev: Path) -> bool:
    """Whether its node is there: a container's driver may list GPUs of which the container has no node."""
    return gpu.minor is not None and (dev / f"nvidia{gpu.minor}").exists()


def _unknown(entry: str, there: list[hardware.Gpu], driver: Path, dev: Path) -> SessionError:
    listed = ", ".join(f"{gpu.uuid} as nvidia{gpu.minor}" for gpu in there) or "none"
    return SessionError(
        f"Which device node is the GPU {entry!r} cannot be told, so no worker can be given it. GPUs that are both in "
        f"{driver} and in {dev}: {listed}. Set CUDA_VISIBLE_DEVICES to the number or UUID of one of them; if "
        "`nvidia-smi -L` shows others, this container was given only part of the driver."
    )


class GpuMemory:
    """Memory in use on each of these GPUs before anything ran, to be held against what is in use later.

    Args:
        uuids: of whole GPUs.
    """

    def __init__(self, uuids: Iterable[str]) -> None:
        used = {uuid: hardware.gpu_memory_used_mb(uuid) for uuid in set(uuids) if uuid}
        self._before = {uuid: mb for uuid, mb in used.items() if mb is not None}

    def held(self, uuid: str, patience_s: float = PATIENCE_S) -> str:
        """Wait until a GPU's memory is as free as it was; when it does not become so, who holds how much of it."""
        if uuid not in self._before:
            return ""
        deadline = time.monotonic() + patience_s
        while (used := hardware.gpu_memory_used_mb(uuid)) is None or used > self._before[uuid] + SLACK_MB:
            if time.monotonic() >= deadline:
                return f"{patience_s:g} s after a run, {self._told(uuid, used)}"
            time.sleep(LOOK_EVERY_S)
        self._before[uuid] = min(self._before[uuid], used)  # at first, something else may have been about to end
        return ""

    def _told(self, uuid: str, used: int | None) -> str:
        if used is None:
            return f"the driver of the GPU {uuid} does not tell its memory any more"
        by = ", ".join(hardware.gpu_holders(uuid)) or "nobody whom nvidia-smi can name"
        return f"{used - self._before[uuid]} MiB of the GPU {uuid} are still held, by {by}"


def still_held(held: str) -> str:
    """Why a session ends whose GPU was not free again, and what to do."""
    return (
        f"The GPU is not as it was: {held}. It may still be computing, so that nothing measured there would be "
        "comparable, and looper resets no GPU. End those processes; if there are none, reset it (`nvidia-smi "
        "--gpu-reset`) or reboot. Nothing is lost: then run the same command again."
    )
