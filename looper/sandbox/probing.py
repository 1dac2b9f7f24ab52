"""Finds out which backends work on this machine, by a real worker started with the flags of production."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import NamedTuple

from looper.sandbox import bwrap, cgroup, landlock
from looper.sandbox.backends import BACKENDS
from looper.sandbox.confined import Sandbox, launch_alone
from looper.sandbox.protocol import Layer, Level, Spec

PATIENCE_S = 20.0
NO_BUBBLEWRAP = (
    "bubblewrap is not installed; looper's own namespaces hold as much (same level).",
    "Optional: apt install bubblewrap.",
)
APPARMOR = (
    "AppArmor keeps ordinary users from making namespaces, as Ubuntu does since 23.10.",
    "Install bubblewrap and apparmor-profiles and load the profile bwrap-userns-restrict, or run with "
    "--min-level landlock.",
)
NO_NAMESPACES = (
    "This system forbids new namespaces, as most containers do.",
    "Start the container with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`, allow user "
    "namespaces (sysctl user.max_user_namespaces), or run with --min-level landlock: there, the list of processes, "
    "the use of the disk and the total memory are not isolated.",
)
NO_CONTAINER = (
    "No container runtime that looper can use.",
    "Install podman (apt install podman), or start docker's daemon and add yourself to the group docker.",
)
NO_LANDLOCK = ("This kernel has no Landlock.", "Boot Linux 5.13 or newer with landlock in its lsm= list.")
NO_PROC = (
    "Parts of /proc are masked, so a worker cannot have one of its own: it gets an empty one.",
    "Start the container with --security-opt systempaths=unconfined.",
)
SIGNALS = (
    f"Landlock {landlock.abi()} does not keep a worker from signalling looper.",
    "Run as root, so that workers are users of their own, or boot Linux 6.12 or newer.",
)
UID_SHARED = (
    "As root, with a Python environment that only root can read, a worker keeps root's user, without its rights.",
    "Install looper where every user may read it, such as /opt.",
)


class Probe(NamedTuple):
    """What one backend came to: the layers that are on, or in ``fault`` why it does not work."""

    name: str
    level: Level
    layers: tuple[str, ...]
    fault: str


def probe(name: str) -> Probe:
    """Start a worker that tries to get out."""
    level = BACKENDS[name].level
    with tempfile.TemporaryDirectory(prefix="looper-probe-") as scratch:
        spec = Spec(main="looper.sandbox.scout", env={}, files={"answer": b"!"}, scratch=scratch)
        try:
            worker = Sandbox(name, launch_alone(name)).start(spec)
        except OSError as error:
            return Probe(name, level, (), str(error).removeprefix("no worker could be started: "))
        worker.channel.settimeout(PATIENCE_S)
        reached = b""
        with contextlib.suppress(OSError):
            reached = worker.channel.recv(1 << 12)
        worker.kill()
        os.close(worker.log_fd)
    held = ("files", "network", "written") if level >= Level.LANDLOCK else ()
    if not reached:
        return Probe(name, level, (), "the worker did not answer")
    open_doors = [what for what in held if json.loads(reached)[what]]
    return Probe(name, level, worker.layers, f"the worker got at: {', '.join(open_doors)}" if open_doors else "")


def available(least: Level = Level.PROCESS) -> list[str]:
    """Names of the backends of that level or above that work here, best first."""
    return [name for name, backend in BACKENDS.items() if backend.level >= least and not probe(name).fault]


def explain(found: Probe) -> Layer:
    """The probe for people: on, or why not and what to do."""
    if not found.fault:
        return Layer(found.name, True, f"at level {found.level.name.lower()}")
    words = found.fault.lower()
    if found.name == "bwrap" and bwrap.program() is None:
        why, fix = NO_BUBBLEWRAP
    elif found.name == "container":
        why, fix = NO_CONTAINER
    elif found.level == Level.LANDLOCK and not landlock.abi():
        why, fix = NO_LANDLOCK
    elif "rtm_newaddr" in words or "uid map" in words or _apparmor_restricts():
        why, fix = APPARMOR
    elif "unshare" in words or "namespace" in words or "mount" in words or "not permitted" in words:
        why, fix = NO_NAMESPACES
    else:
        why, fix = "", ""
    return Layer(found.name, False, f"{why} ({found.fault})".strip(), fix)


def report() -> list[Layer]:
    """Every backend, then what the best of them lacks."""
    probes = [probe(name) for name in BACKENDS]
    layers = [explain(found) for found in probes]
    best = next((found for found in probes if not found.fault), None)
    if best and best.level >= Level.NAMESPACES:
        layers.append(Layer("own-proc", "no-proc" not in best.layers, *(NO_PROC if "no-proc" in best.layers else ())))
    if best and best.level >= Level.LANDLOCK:
        shared = os.geteuid() == 0 and "own-user" not in best.layers
        signals = 0 < landlock.abi() < 6 and "own-user" not in best.layers and best.level < Level.NAMESPACES
        layers.append(Layer("own-user", not shared, *(UID_SHARED if shared else ())))
        layers.append(Layer("signals", not signals, *(SIGNALS if signals else ())))
    return [*layers, cgroup.available()]


def _apparmor_restricts() -> bool:
    try:
        with open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") as f:
            return f.read().strip() == "1" and os.geteuid() != 0
    except OSError:
        return False
