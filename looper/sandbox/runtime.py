"""What looper asks of podman and docker: the flags are those that podman-run(1) and docker-run(1) have in common."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from typing import Any

from looper.sandbox.bwrap import PLACES
from looper.sandbox.contained import DOOR
from looper.sandbox.fresh import TARGET, WORK
from looper.sandbox.python import python_code
from looper.sandbox.signed import is_abandoned
from looper.sandbox.view import SYSTEM

NAMES = ("podman", "docker")  # podman first: it needs no program that runs all the time
LABEL = "looper.worker"
#: Users for workers out of a range that nobody else has (systemd.io/UIDS-GIDS: 60578 to 61183 are unused), and that
#: exists where an ordinary user's containers have 65536 users of their own.
FIRST_UID, UIDS = 60_578, 606
#: Where a worker can write, and what part of the space it gets where each is a disk of its own: one in so many.
WRITABLE = {WORK: 2, "/tmp": 4, "/dev/shm": 4}
SETTINGS = ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/etc/passwd", "/etc/group")  # as runtimes make them
ANSWER_S = 60.0  # for the runtime to do one thing


def program(name: str) -> str | None:
    """The system's own runtime of this name."""
    return shutil.which(name, path=":".join(PLACES))


def prepare(runtime: str) -> None:
    """Make the image, and strike out what launchers that were killed left of their containers.

    Raises:
        OSError: when the runtime does not work; with its own words.
    """
    name, content = image()
    if not ask(runtime, "images", "--quiet", name):
        ask(runtime, "import", "-", name, given=content)
    for container in filter(is_abandoned, known(runtime)):
        strike(runtime, container)


def known(runtime: str) -> list[str]:
    """The names of looper's containers that are in the runtime's books, whether they run or not."""
    return ask(runtime, "ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}").split()


def strike(runtime: str, name: str) -> None:
    """End a container, if it runs, and take it off the books."""
    with contextlib.suppress(OSError):  # it is not there any more, or not yet
        ask(runtime, "rm", "--force", name)


def image() -> tuple[str, bytes]:
    """Name and content of the image: a tar archive of the system's links into /usr. The name changes with them."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for place in filter(os.path.islink, SYSTEM):
            link = tarfile.TarInfo(place[1:])
            link.type, link.linkname = tarfile.SYMTYPE, os.readlink(place)
            archive.addfile(link)
    digest = hashlib.sha256(content.getvalue()).hexdigest()[:12]
    return f"localhost/looper-worker:{digest}", content.getvalue()


def ask(runtime: str, *arguments: str, given: bytes = b"") -> str:
    """Run a command of the runtime's and return its output.

    Raises:
        OSError: when it fails; with its own words.
    """
    asked = command(runtime, *arguments)
    try:
        done = subprocess.run(asked, input=given, capture_output=True, check=False, env=environment(), timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        raise OSError(f"`{runtime} {arguments[0]}` did not end within {ANSWER_S:.0f} s") from None
    if done.returncode != 0:
        raise OSError(last_line(done.stderr) or f"`{runtime} {arguments[0]}` failed")
    return done.stdout.decode(errors="replace").strip()


def command(runtime: str, *arguments: str) -> list[str]:
    return [program(runtime) or runtime, *arguments]


def environment() -> dict[str, str]:
    """The runtime's environment: where its programs, its settings and its own files are."""
    user = os.geteuid()
    found = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.path.expanduser("~")}
    if os.path.isdir(own := f"/run/user/{user}"):
        found["XDG_RUNTIME_DIR"] = own
    return found


def arguments(runtime: str, name: str, spec: Mapping[str, Any], folder: str) -> list[str]:
    """What the runtime is asked for, the program last. ``folder`` holds what the container is given, ``disk`` if it
    has it there already."""
    limits, user = spec["limits"], FIRST_UID + os.getpid() % UIDS
    found = ["--name", name, "--rm", "--label", LABEL, "--pull", "never", "--log-driver", "none"]
    found += ["--user", f"{user}:{user}", "--cap-drop", "ALL", "--hostname", "worker"]
    found += ["--security-opt", "no-new-privileges", "--security-opt", "label=disable"]  # a label would hide /usr
    found += ["--network", "none", "--ipc", "none", "--cgroupns", "private", "--read-only"]
    found += ["--ulimit", f"nofile={limits['open_files']}", "--ulimit", f"nproc={limits['processes']}"]
    found += ["--pids-limit", str(limits["processes"])]
    if limits["memory_mb"] is not None:
        found += ["--memory", f"{limits['memory_mb']}m", "--memory-swap", f"{limits['memory_mb']}m"]
    if runtime == "podman":
        found.append("--read-only-tmpfs=false")  # memory to write to, without a limit
    for place, share in WRITABLE.items():
        if os.path.isdir(own := f"{folder}/disk{place}"):
            found += ["--mount", f"type=bind,source={own},target={place}"]
        else:
            found += ["--tmpfs", f"{place}:{memory(runtime, limits, share)}"]
    found += ["--tmpfs", "/run:size=64k,mode=700"]
    for source, place in mounts(spec, folder):
        found += ["--mount", f"type=bind,source={source},target={place},readonly"]
    for node in spec["devices"]:
        found += ["--device", node]
    code = "from looper.sandbox.contained import main; main()"
    return [*found, image()[0], "/usr/bin/env", "-i", *python_code(code)]


def memory(runtime: str, limits: Mapping[str, Any], share: int) -> str:
    """Options of a folder in memory that holds one part in ``share`` of what the worker may write."""
    options = f"rw,exec,nosuid,nodev,mode=1777,size={(limits['disk_mb'] << 10) // share}k"
    return options if runtime == "podman" else f"{options},nr_inodes={limits['inodes'] // share}"


def mounts(spec: Mapping[str, Any], folder: str) -> list[tuple[str, str]]:
    """What is shown, and where. /sys is the runtime's."""
    found = [(os.path.realpath(path), path) for path in spec["shown"] if not path.startswith("/sys/")]
    found += [(f"{folder}/target", TARGET), (f"{folder}/door", DOOR)]
    found += [(f"{folder}/nothing", path) for path in SETTINGS]
    hidden = [os.path.realpath(path) for path in spec["hidden"] if os.path.exists(path)]
    return found + [(f"{folder}/{'empty' if os.path.isdir(path) else 'nothing'}", path) for path in hidden]


def last_line(words: bytes) -> str:
    lines = words.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
