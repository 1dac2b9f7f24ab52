"""Namespaces made by bubblewrap, the system's own program for it, which some systems trust where they refuse others.

bubblewrap builds the view and waits; this process joins its namespaces; then bubblewrap is not needed any more. The
program that runs in the end is therefore a fork of this one, warm, and no descriptor, variable or process of
bubblewrap's is in its reach. Run by root, bubblewrap makes no user namespace and confines little by itself
(github.com/containers/bubblewrap issue 287): the worker's change of user, in ``lockdown.py``, is what counts there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys

from looper.sandbox import linux
from looper.sandbox.fresh import MOUNT_POINTS
from looper.sandbox.view import View

NS_GET_USERNS = 0xB701  # ioctl_ns(2): the user namespace that owns a namespace
WAIT = "print(flush=True); input()"  # tells that the view is complete, then stays until it is joined
PATIENCE_S = 20.0
PLACES = ("/usr/bin", "/bin", "/usr/local/bin", "/run/current-system/sw/bin")  # never from the caller's PATH


def program() -> str | None:
    """The system's bubblewrap."""
    return shutil.which("bwrap", path=":".join(PLACES))


def enter(view: View) -> list[str]:
    """Confine this process, which must have one thread. Returns the layers that are on.

    Raises:
        OSError: when bubblewrap is missing or refused; with its own words.
    """
    path = program()
    if path is None:
        raise OSError("bubblewrap is not installed")
    told, tell = os.pipe()
    waiting = subprocess.Popen(
        [path, "--info-fd", str(tell), *arguments(view), sys.executable, "-I", "-S", "-c", WAIT],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[tell], env={},
    )  # fmt: skip
    os.close(tell)
    assert waiting.stdin and waiting.stdout and waiting.stderr
    with open(told) as info, waiting:
        if waiting.stdout.readline() != b"\n":
            words = waiting.stderr.read().decode(errors="replace").strip().splitlines()
            raise OSError(words[-1] if words else "bubblewrap ended at once")
        join(json.load(info)["child-pid"])
        waiting.stdin.close()
    return ["bubblewrap", "mount-namespace", "network-namespace", "ipc-namespace"]


def arguments(view: View) -> list[str]:
    """What bubblewrap is asked for."""
    found = ["--die-with-parent", "--new-session", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    found += ["--hostname", "worker", "--cap-drop", "ALL"]
    if os.geteuid() != 0:
        found.append("--unshare-user")
    for path in parents((*view.shown, *view.devices, *(place for place, _ in view.links))):
        found += ["--perms", "0755", "--dir", path]  # by itself 0.8 makes them 0700
    for path in view.shown:
        found += ["--ro-bind", path, path]
    for place, text in view.links:
        found += ["--symlink", text, place]
    for node in view.devices:
        found += ["--dev-bind", node, node]
    for path in MOUNT_POINTS:
        found += ["--perms", "0755", "--dir", path]
    return [*found, "--bind", "/proc", "/proc", "--remount-ro", "/"]


def parents(paths: tuple[str, ...]) -> list[str]:
    """Every folder on the way to these paths, outermost first."""
    found: set[str] = set()
    for path in paths:
        while (path := os.path.dirname(path)) != "/":
            found.add(path)
    return sorted(found)


def join(process: int) -> None:
    """Enter the namespaces of ``process``, whose owner we are."""
    kinds = {"mnt": linux.CLONE_NEWNS, "net": linux.CLONE_NEWNET, "ipc": linux.CLONE_NEWIPC, "uts": linux.CLONE_NEWUTS}
    opened = {kind: os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds}
    if os.geteuid() != 0:
        owner = fcntl.ioctl(opened["mnt"], NS_GET_USERNS)
        linux.setns(owner, linux.CLONE_NEWUSER)
        os.close(owner)
    for kind in ("net", "ipc", "uts", "mnt"):
        linux.setns(opened[kind], kinds[kind])
        os.close(opened[kind])
    os.chdir("/")
