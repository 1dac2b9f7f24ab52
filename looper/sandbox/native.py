"""Namespaces made by ourselves, through libc: nothing to install, root or not.

What is covered: no file but the view's, and that read-only; no network device; no process, host name, SysV memory
or message queue of the host.
What is not covered: the kernel itself and its drivers are shared.
"""

from __future__ import annotations

import os
import socket

from looper.sandbox import linux
from looper.sandbox.fresh import MOUNT_POINTS
from looper.sandbox.view import View


def enter(view: View) -> list[str]:
    """Confine this process, which must have one thread. Returns the layers that are on.

    It keeps what rights it has in its new namespaces, to make fresh ones for each worker.

    Raises:
        OSError: when the system refuses.
    """
    uid, gid = os.geteuid(), os.getegid()
    spaces = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    linux.unshare(spaces if uid == 0 else spaces | linux.CLONE_NEWUSER)
    if uid != 0:
        linux.map_user(uid, gid)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    show(view)
    socket.sethostname("worker")
    return ["mount-namespace", "network-namespace", "ipc-namespace", *([] if uid == 0 else ["user-namespace"])]


def show(view: View) -> None:
    """Make the view the root folder. The old root is gone afterwards.

    Two turns, so that no path of the host is covered while it is still needed: the first puts the host at /host.
    """
    sources = {place: os.path.realpath(place) for place in (*view.shown, *view.devices)}  # as links lead from /
    linux.mount("tmpfs", "/tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    os.mkdir("/tmp/host")
    os.mkdir("/tmp/new")
    linux.pivot_root("/tmp", "/tmp/host")
    os.chdir("/")
    linux.mount("tmpfs", "/new", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    for place in view.shown:
        _show(f"/host{sources[place]}", f"/new{place}")
    linux.restrict_mount("/new", linux.ATTR_RDONLY | linux.ATTR_NOSUID | linux.ATTR_NODEV)
    linux.mount(None, "/new", None, linux.MS_BIND | linux.MS_REMOUNT | linux.MS_NOSUID)
    for node in view.devices:
        _show(f"/host{sources[node]}", f"/new{node}")
    for place, text in view.links:
        if not os.path.lexists(f"/new{place}"):
            os.symlink(text, f"/new{place}")
    for place in MOUNT_POINTS:
        os.makedirs(f"/new{place}", exist_ok=True)
    linux.bind("/host/proc", "/new/proc")
    linux.mount(None, "/new", None, linux.MS_BIND | linux.MS_REMOUNT | linux.MS_NOSUID | linux.MS_RDONLY)
    os.chdir("/new")
    linux.pivot_root(".", ".")  # the old root is stacked on the new one: pivot_root(2)
    linux.detach(".")
    os.chdir("/")


def _show(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o444))
    linux.bind(source, target)
