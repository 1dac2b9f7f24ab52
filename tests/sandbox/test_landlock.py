"""What Landlock leaves a process, and what it does not."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from looper.sandbox import landlock
from tests.modes import ordinary_user
from tests.sandbox.alone import ROOT, run, told

ABI = landlock.abi()
pytestmark = pytest.mark.skipif(not ABI, reason="this kernel has no Landlock")

# What an interpreter needs to go on importing.
PROGRAMS = [sys.prefix, sys.base_prefix, str(ROOT), "/usr", "/bin", "/lib", "/lib64", "/etc"]
ARGUMENTS = f"""
place = sys.argv[1]
PROGRAMS = {PROGRAMS!r}

def read(path):
    return attempt(lambda: open(os.path.join(place, path)).close())

def write(path, mode="w"):
    return attempt(lambda: open(os.path.join(place, path), mode).close())

"""


@pytest.fixture(params=[list, ordinary_user], ids=["as it is", "ordinary user"])
def user(request: pytest.FixtureRequest) -> list[str]:
    return request.param()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in which every user may do everything."""
    folder = Path(os.path.realpath(tempfile.mkdtemp()))
    for name in ("theirs/note", "theirs/deep/note", "ours/note", "elsewhere/note"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    shutil.copy(shutil.which("true") or "/bin/true", folder / "theirs" / "program")
    shutil.copy(shutil.which("true") or "/bin/true", folder / "elsewhere" / "program")
    open_to_all(folder)
    yield folder
    shutil.rmtree(folder)


def open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)


def test_files(user: list[str], place: Path) -> None:
    script = f"""{ARGUMENTS}
import stat
os.chdir(place)
landlock.restrict([*PROGRAMS, "theirs", "elsewhere/nothing"], ["ours"], ["/dev/null"])
tell({{
    "readable": [read("theirs/note"), read("theirs/deep/note"), attempt(os.listdir, "theirs")],
    "executable": attempt(subprocess.run, ["theirs/program"]),
    "not writable": [write("theirs/note"), write("theirs/note", "a"), write("theirs/new"),
        attempt(os.truncate, "theirs/note", 0), attempt(os.unlink, "theirs/note"), attempt(os.mkdir, "theirs/new")],
    "not to be moved": [attempt(os.rename, "theirs/note", "ours/new"), attempt(os.link, "theirs/note", "ours/new"),
        attempt(os.rename, "ours/note", "theirs/new")],
    "writable": [write("ours/note"), write("ours/new"), write("ours/note", "a"), attempt(os.truncate, "ours/note", 0),
        attempt(os.mkdir, "ours/deep"), attempt(os.rename, "ours/new", "ours/deep/new"),
        attempt(os.symlink, "note", "ours/link"), attempt(os.mkfifo, "ours/fifo"), attempt(os.unlink, "ours/note"),
        attempt(socket.socket(socket.AF_UNIX).bind, "ours/socket"), attempt(os.listdir, "ours")],
    "elsewhere": [read("elsewhere/note"), write("elsewhere/note"), attempt(os.listdir, "elsewhere"),
        attempt(os.listdir, "."), write("new"), read("/proc/version"), read("/proc/self/environ"),
        attempt(subprocess.run, ["elsewhere/program"])],
    "through a link": [attempt(os.symlink, place + "/elsewhere/note", "ours/outside"), read("ours/outside")],
    "null": [read("/dev/null"), write("/dev/null"), write("/dev/null", "a")],
    "other devices": [read("/dev/zero"), read("/dev/urandom")],
    "new devices": attempt(os.mknod, "ours/device", stat.S_IFCHR | 0o666, os.makedev(1, 5)),
}})"""
    heard = told(user, script, str(place))
    moved = heard.pop("not to be moved")
    assert set(moved) <= {"EACCES", "EXDEV"}
    assert heard.pop("new devices") in ("EACCES", "EPERM")
    assert heard == {
        "readable": ["ok"] * 3,
        "executable": "ok",
        "not writable": ["EACCES"] * 6,
        "writable": ["ok"] * 11,
        "elsewhere": ["EACCES"] * 8,
        "through a link": ["ok", "EACCES"],
        "null": ["ok"] * 3,
        "other devices": ["EACCES"] * 2,
    }


def test_single_files_and_links(user: list[str], place: Path) -> None:
    (place / "link").symlink_to("theirs")
    (place / "link to ours").symlink_to("ours/note")
    script = f"""{ARGUMENTS}
os.chdir(place)
landlock.restrict(["link", "elsewhere/note"], ["link to ours"], [])
tell([read("theirs/note"), read("link/note"), read("elsewhere/note"), read("ours/note"), write("ours/note"),
    read("elsewhere/program"), write("ours/new"), write("elsewhere/note")])"""
    assert told(user, script, str(place)) == ["ok"] * 5 + ["EACCES"] * 3


def test_device_ioctls_are_for_devices_alone(user: list[str], place: Path) -> None:
    if ABI < 5:
        pytest.skip("device ioctls need Landlock 5")
    script = f"""{ARGUMENTS}
device, other = os.open("/dev/null", os.O_RDWR), os.open("/dev/zero", os.O_RDWR)
before = call({ioctl()}, device, 0x1271, None)
landlock.restrict(["/dev"], [place + "/ours", "/dev/zero"], ["/dev/null"])
device, other = os.open("/dev/null", os.O_RDWR), os.open("/dev/zero", os.O_RDWR)
tell([before, *(call({ioctl()}, fd, 0x1271, None) for fd in (device, other))])"""
    assert told(user, script, str(place)) == ["ENOTTY", "ENOTTY", "EACCES"]


def ioctl() -> int:
    return {"x86_64": 16, "aarch64": 29}[os.uname().machine]


def test_hidden_modules(user: list[str], place: Path) -> None:
    for name in ("seen", "unseen", "package/__init__", "package/seen", "package/unseen", "secret/data", "plain/seen"):
        (place / "theirs" / f"{name}.py").parent.mkdir(exist_ok=True)
        (place / "theirs" / f"{name}.py").write_text("VALUE = 1\n")
    (place / "theirs" / "package" / "link.py").symlink_to("unseen.py")
    (place / "alias").symlink_to("theirs")
    open_to_all(place / "theirs")
    script = f"""{ARGUMENTS}
import importlib
sys.path.insert(0, place + "/theirs")
sys.dont_write_bytecode = True
hidden = ["alias/unseen.py", "theirs/package/unseen.py", "theirs/secret", "theirs/missing"]
landlock.restrict([*PROGRAMS, place], [], [], [place + "/" + name for name in hidden])
def module(name):
    return attempt(importlib.import_module, name)
tell({{
    "imports": [module(name) for name in ("seen", "package.seen", "plain.seen")],
    "hidden": [module(name) for name in ("unseen", "package.unseen", "package.link", "secret.data")],
    "contents": [read(name) for name in ("alias/unseen.py", "theirs/secret/data.py", "theirs/package/unseen.py")],
    "others": [read("theirs/note"), read("theirs/deep/note"), read("elsewhere/note"),
        attempt(subprocess.run, [place + "/theirs/program"])],
    "names": [sorted(os.listdir(place + "/theirs/package")), os.listdir(place + "/theirs/secret")],
    "not writable": write("theirs/package/new"),
}})"""
    assert told(user, script, str(place)) == {
        "imports": ["ok"] * 3,
        "hidden": ["EACCES"] * 4,
        "contents": ["EACCES"] * 3,
        "others": ["ok"] * 4,
        "names": [["__init__.py", "link.py", "seen.py", "unseen.py"], ["data.py"]],
        "not writable": "EACCES",
    }


def test_a_hidden_folder_stays_so_where_a_part_of_it_is_named(user: list[str], place: Path) -> None:
    script = f"""{ARGUMENTS}
names = ["/theirs", "/theirs/deep", "/theirs/deep/note"]
landlock.restrict([place + name for name in names], [], [], [place + "/theirs/deep"])
tell([read("theirs/note"), read("theirs/deep/note")])"""
    assert told(user, script, str(place)) == ["ok", "EACCES"]


def test_nothing_can_be_hidden_in_what_is_writable(place: Path) -> None:
    script = f"{ARGUMENTS}landlock.restrict([], [place], [], [place + '/theirs/note'])"
    refused = run([], script, str(place))
    assert refused.stderr.splitlines()[-1].startswith(f"ValueError: something hidden lies beneath {place}")


def test_network_and_others_processes(user: list[str], place: Path) -> None:
    if ABI < 6:
        pytest.skip("abstract sockets and signals need Landlock 6, TCP needs 4")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0looper-test-{os.getpid()}")
        abstract.listen()
        script = f"""{ARGUMENTS}
tcp, abstract = ("127.0.0.1", int(sys.argv[2])), sys.argv[3].replace("@", chr(0))
outside = subprocess.Popen(["sleep", "60"])
def reach():
    child = subprocess.Popen(["sleep", "60"])
    found = {{
        "connect": attempt(socket.socket().connect, tcp),
        "bind": attempt(socket.socket().bind, ("127.0.0.1", 0)),
        "abstract": attempt(socket.socket(socket.AF_UNIX).connect, abstract),
        "signal": attempt(os.kill, outside.pid, 0),
        "own child": attempt(child.kill),
    }}
    child.wait()
    return found
before = reach()
if os.fork() == 0:
    landlock.restrict(PROGRAMS, [], [])
    tell([before, reach()])
    os._exit(0)
os.wait()
outside.kill(), outside.wait()"""
        before, after = told(user, script, str(place), str(tcp.getsockname()[1]), f"@looper-test-{os.getpid()}")
    assert set(before.values()) == {"ok"}
    refused = {"connect": "EACCES", "bind": "EACCES", "abstract": "EPERM", "signal": "EPERM"}
    assert after == {**refused, "own child": "ok"}


def test_memory_and_environment_of_others_of_the_same_user(place: Path) -> None:
    script = f"""{ARGUMENTS}
outside = os.getpid()
def reach(pid):
    return [attempt(lambda: open(f"/proc/{{pid}}/{{name}}", "rb").close()) for name in ("environ", "maps", "mem")]
if os.fork() == 0:
    before = reach(outside)
    landlock.restrict([*PROGRAMS, "/proc"], ["/proc"], [])
    tell([before, reach(outside), reach(os.getpid())])
    os._exit(0)
os.wait()"""
    assert told(ordinary_user(), script, str(place)) == [["ok"] * 3, ["EACCES"] * 3, ["ok"] * 3]


def test_it_holds_for_programs(user: list[str], place: Path) -> None:
    script = f"""{ARGUMENTS}
landlock.restrict([*PROGRAMS, place + "/theirs"], ["/dev/null"], [])
tell([subprocess.run(["cat", f"{{place}}/{{name}}/note"], capture_output=True).returncode
    for name in ("theirs", "elsewhere")])"""
    assert told(user, script, str(place)) == [0, 1]


def test_a_kernel_without_it_is_an_error(place: Path) -> None:
    script = f"""{ARGUMENTS}
import struct
ENOSYS_FOR_ITS_CALLS = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x50026), (6, 0, 0, 0x7FFF0000)]
steps = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in ENOSYS_FOR_ITS_CALLS))
assert libc.prctl(22, 2, struct.pack("@HP", len(ENOSYS_FOR_ITS_CALLS), ctypes.addressof(steps))) == 0
print(landlock.abi(), flush=True)
landlock.restrict([place], [], [])"""
    refused = run([], "libc.prctl(38, 1, 0, 0, 0)\n" + script, str(place))
    assert (refused.returncode, refused.stdout) == (1, "0\n")
    assert "no Landlock: it needs Linux 5.13" in refused.stderr


def test_a_refusal_is_an_error(place: Path) -> None:
    refused = run(ordinary_user(), f"{ARGUMENTS}landlock.restrict([place], [], [])", str(place))
    assert refused.returncode == 1
    assert "PermissionError: [Errno 1] Landlock refused" in refused.stderr
