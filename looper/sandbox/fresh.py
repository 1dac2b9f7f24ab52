"""What every worker gets anew inside the static view: namespaces, /proc, and sized memory to write to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from looper.sandbox import linux

HOME = "/.looper"  # no environment lies here, so nothing is covered
WORK, TARGET = f"{HOME}/work", f"{HOME}/target"
MOUNT_POINTS = (HOME, "/proc", "/tmp", "/dev/shm")
SPACES = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP


class Size(NamedTuple):
    """What may be written in all: MiB, and files and folders."""

    disk_mb: int
    inodes: int


def enter(
    files: Mapping[str, bytes],
    hidden: Sequence[str],
    covered: Sequence[str],
    shown: Sequence[str],
    uid: int,
    size: Size,
) -> list[str]:
    """Called in process 1 of the worker's PID namespace, with the zygote's rights. Returns the layers that are on.

    Args:
        files: what goes to TARGET, read-only, by relative path.
        hidden: files and folders of the view to make unreadable.
        covered: device nodes that stand for other workers' devices.
        shown: the view's own paths.
        uid: who will own what can be written.

    Raises:
        OSError: when the system refuses.
    """
    linux.unshare(SPACES)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    data = f"mode=755,size={size.disk_mb}m,nr_inodes={size.inodes}"
    linux.mount("tmpfs", HOME, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, data)
    _lay(files)
    _hide(hidden)
    for node in covered:
        linux.bind("/dev/null", node)
    for place, mount_point in (("work", None), ("tmp", "/tmp"), ("shm", "/dev/shm")):
        folder = f"{HOME}/{place}"
        os.mkdir(folder)
        os.chown(folder, uid, -1)
        if mount_point:
            _cover(mount_point, folder, shown)
    return ["own-proc" if _own_proc() else "no-proc"]


def _lay(files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = f"{TARGET}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(data)
    os.makedirs(TARGET, exist_ok=True)
    linux.bind(TARGET, TARGET)
    linux.restrict_mount(TARGET, linux.ATTR_RDONLY)


def _hide(hidden: Sequence[str]) -> None:
    """Put something empty and unreadable over each."""
    present = [path for path in hidden if os.path.exists(path)]
    if not present:
        return
    file, folder = f"{HOME}/nothing", f"{HOME}/empty"
    os.mkdir(folder, 0o000)
    os.close(os.open(file, os.O_CREAT, 0o000))
    for path in present:
        linux.bind(folder if os.path.isdir(path) else file, path)


def _cover(mount_point: str, folder: str, shown: Sequence[str]) -> None:
    """Mount ``folder``, but keep in sight what of the view lies below the mount point."""
    inside = [path for path in shown if path.startswith(f"{mount_point}/")]
    for number, path in enumerate(inside):
        aside = f"{HOME}/aside{number}"
        _like(path, aside)
        linux.bind(path, aside)
        inner = folder + path.removeprefix(mount_point)
        _like(path, inner)
    linux.bind(folder, mount_point)
    for number, path in enumerate(inside):
        linux.bind(f"{HOME}/aside{number}", path)
        linux.detach(f"{HOME}/aside{number}")


def _like(path: str, made: str) -> None:
    """An empty folder or file, as ``path`` is one, to mount on."""
    if os.path.isdir(path):
        os.makedirs(made)
    else:
        os.makedirs(os.path.dirname(made), exist_ok=True)
        os.close(os.open(made, os.O_CREAT))


def own_proc_alone() -> bool:
    """Nothing fresh but /proc, as the PID namespace has it; False where the system refuses.

    Without it, a program that looks itself up under its process number finds some other process.
    """
    try:
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except OSError:
        return False
    return True


def _own_proc() -> bool:
    """A /proc that shows this PID namespace alone; where the system refuses, an empty one, never the host's."""
    try:
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    except OSError:  # some containers cover parts of /proc, and the kernel then refuses whole ones
        linux.mount("tmpfs", "/proc", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_RDONLY, "size=0")
        return False
    return True
