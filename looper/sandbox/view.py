"""What of the file system a worker sees: this very Python environment and the system's programs, read-only.

Nothing of the user's is in it: no home, no /run, /var, /tmp, no repository, no data. A virtual environment that
lies in one of those is shown at its place, with empty folders around it.
"""

from __future__ import annotations

import glob
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import looper

#: Below /, the system's own programs and libraries: folders, or links into /usr.
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
#: Of /etc: where libraries are found, and which program stands behind a common name.
SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime")
#: Of /sys: cores and caches, as OpenMP and torch ask for them.
MACHINE = ("/sys/devices/system/cpu", "/sys/devices/system/node")
#: What a CUDA driver looks its GPUs up in.
MACHINE_GPU = ("/sys/bus/pci", "/sys/devices", "/sys/class/drm", "/sys/module/nvidia", "/sys/module/nvidia_uvm")
#: Of a CUDA toolkit: what compilers read of it.
TOOLKIT = ("bin", "include", "lib64", "nvvm", "targets")
LIBRARY = re.compile(r"\.so(\.[0-9.]+)?$")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GPU_CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset", "/dev/dxg")


class View(NamedTuple):
    """What is shown, all of it at the place where the host has it.

    Args:
        shown: files and folders to show read-only; none lies in another.
        links: symbolic links to make, place and text.
        devices: device nodes.
    """

    shown: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]


def view_of(gpu: bool) -> View:
    """The view of the workers of this process; with ``gpu``, the NVIDIA devices and what their driver reads."""
    links = tuple((place, os.readlink(place)) for place in SYSTEM if os.path.islink(place))
    wanted = ["/usr", *(place for place in SYSTEM if not os.path.islink(place)), *SETTINGS]
    wanted += [*python_environment(), *(MACHINE_GPU if gpu else MACHINE)]
    if gpu:
        wanted += libraries(os.environ.get("LD_LIBRARY_PATH", ""))
        wanted += toolkit(os.environ.get("CUDA_HOME", ""))
    shown = _outermost(path for path in wanted if path.startswith("/") and os.path.exists(path))
    shown += [path for path in mapped_files() if not _within(path, shown)]
    devices = [*DEVICES, *(gpu_nodes() if gpu else ())]
    return View(tuple(shown), links, tuple(node for node in devices if os.path.exists(node)))


def python_environment() -> list[str]:
    """Where this interpreter imports from, but for folders of the user's own, such as another project's source."""
    paths = sysconfig.get_paths()
    found = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [path for path in (*sys.path, *site.getsitepackages()) if re.search(r"/(site|dist)-packages$", path)]
    found += [sys.base_prefix, str(Path(looper.__file__).parent), os.path.realpath(sys.executable)]
    if sys.prefix != sys.base_prefix:  # a virtual environment can be the very folder of the user's project
        found += [os.path.join(sys.prefix, name) for name in ("bin", "lib", "lib64", "include", "pyvenv.cfg")]
    return [path for path in found if path != "/"]


def libraries(search_path: str) -> list[str]:
    """The shared libraries in the folders of a value of LD_LIBRARY_PATH, and nothing else that lies there.

    A folder in it can be the user's home, or the one looper was started in.
    """
    folders = [folder for folder in search_path.split(":") if folder.startswith("/")]
    found = [file for folder in folders for file in glob.glob(f"{glob.escape(folder)}/*.so*")]
    return [file for file in found if LIBRARY.search(os.path.realpath(file)) and os.path.isfile(file)]


def toolkit(folder: str) -> list[str]:
    """The parts of the CUDA toolkit in ``folder``, a value of CUDA_HOME; nothing of a folder that holds none."""
    is_one = folder.startswith("/") and os.path.isfile(f"{folder}/bin/ptxas") and os.path.isdir(f"{folder}/nvvm")
    return [f"{folder}/{name}" for name in TOOLKIT] if is_one else []


def reachable(view: View) -> bool:
    """Whether another user of this machine can get at all of the view."""
    folders = {str(folder) for path in view.shown for folder in (Path(path), *Path(path).parents)}
    return all(os.stat(folder).st_mode & 0o001 for folder in folders if os.path.isdir(folder))


def mapped_files() -> list[str]:
    """The libraries in this process's memory, wherever they were found."""
    with open("/proc/self/maps") as f:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in f if line.count(" /") and "x" in line.split()[1]}
    return sorted(path for path in paths if path.startswith("/") and os.path.isfile(path))


def gpu_nodes() -> list[str]:
    """Every NVIDIA device node: those that all GPUs share, then one a GPU."""
    return [*GPU_CONTROL, *glob.glob("/dev/nvidia[0-9]*"), *glob.glob("/dev/nvidia-caps/*")]


def _outermost(paths: Iterable[str]) -> list[str]:
    """Each path once, without those that lie in another one."""
    kept: list[str] = []
    for path in sorted({os.path.normpath(path) for path in paths}):
        if not _within(path, kept):
            kept.append(path)
    return kept


def _within(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
