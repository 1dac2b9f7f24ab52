"""What the kernel holds a worker's group to, and who gets one."""

from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from looper.sandbox.cgroup import Cgroup, available, obstacle, own_groups, sweep
from tests.measuring import eventually
from tests.modes import ordinary_user

ROOT = Path(__file__).parents[2]
LIMIT_MB = 96
MOST_MB = LIMIT_MB + 1  # the kernel may charge a few pages of its own beyond the limit

#: Joins the group whose descriptors are the arguments, before anything else.
JOIN = """
import ctypes, mmap, os, sys, time
for fd in map(int, sys.argv[1:]):
    os.write(fd, b"0")
    os.close(fd)
MB = 1 << 20
def fill(fd, mb):
    for _ in range(mb): os.write(fd, bytes(MB))
"""
HOGS = {
    "memory of its own": "kept = bytearray(mb * MB)",
    "shared memory": "kept = mmap.mmap(-1, mb * MB)\nfor page in range(0, mb * MB, 4096): kept[page] = 1",
    "a file without a place": "kept = os.memfd_create('hog'); fill(kept, mb)",
    "a file in memory": "kept = os.open('/dev/shm', os.O_TMPFILE | os.O_RDWR); fill(kept, mb)",
    "many small files": "for n in range(mb): fill(os.memfd_create('hog'), 1)",
}


@pytest.fixture
def group_of() -> Iterator[Callable[[int | None, int], Cgroup]]:
    """Makes groups, and removes them after the test."""
    if not (layer := available()).on:
        pytest.skip(layer.why)
    groups: list[Cgroup] = []

    def group_of(memory_mb: int | None = LIMIT_MB, processes: int = 20) -> Cgroup:
        group = Cgroup.create(memory_mb, processes)
        assert group is not None
        groups.append(group)
        return group

    yield group_of
    for group in groups:
        group.remove()


def start(group: Cgroup, code: str, *before: str) -> subprocess.Popen[str]:
    """A Python process in the group; ``before`` is a command that starts it."""
    command = [*before, sys.executable, "-c", JOIN + code, *map(str, group.procs)]
    return subprocess.Popen(command, pass_fds=group.procs, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def said(process: subprocess.Popen[str]) -> str:
    return process.communicate()[0].strip()


def folders(pid: int) -> list[Path]:
    """Folders of the groups that a process made below the groups of this one."""
    places = {place for own in own_groups().values() for place in (own, own.parent)}
    return [folder for place in places for folder in place.glob(f"looper-*-{pid}-*-*")]


@pytest.mark.parametrize("hog", HOGS)
def test_memory_of_any_kind_is_limited(group_of: Callable[..., Cgroup], hog: str) -> None:
    within, beyond = group_of(), group_of()
    fits = start(within, f"mb = {LIMIT_MB // 4}\n{HOGS[hog]}\nprint('done', flush=True); time.sleep(600)")
    assert fits.stdout.readline() == "done\n"
    assert LIMIT_MB // 4 <= within.memory_mb() <= within.peak_mb() <= MOST_MB
    assert within.oom_kills() == 0
    fits.kill()
    fits.communicate()
    process = start(beyond, f"mb = {LIMIT_MB * 4}\n{HOGS[hog]}\nprint('done')")
    assert said(process) == ""
    assert process.returncode == -signal.SIGKILL
    assert beyond.oom_kills() >= 1
    assert beyond.peak_mb() <= MOST_MB


def test_processes_share_the_limit(group_of: Callable[..., Cgroup]) -> None:
    hog = f"kept = bytearray({LIMIT_MB // 2} * MB); print('done', flush=True); time.sleep(600)"
    alone = start(group_of(), hog)
    assert alone.stdout.readline() == "done\n"
    together = group_of()
    three = [start(together, hog) for _ in range(3)]
    assert eventually(lambda: together.oom_kills() >= 1)
    assert together.peak_mb() <= MOST_MB
    for process in (alone, *three):
        process.kill()
        process.communicate()
    assert alone.returncode == -signal.SIGKILL


def test_the_cache_of_files_on_disk_does_not_count(group_of: Callable[..., Cgroup], tmp_path: Path) -> None:
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() in ("tmpfs", "ramfs"):
        pytest.skip("temporary files are in memory here")
    group = group_of()
    code = f"fill(os.open({str(tmp_path / 'big')!r}, os.O_CREAT | os.O_WRONLY), {LIMIT_MB * 2})\nprint('done')"
    assert said(start(group, code)) == "done"
    assert group.oom_kills() == 0
    assert group.memory_mb() < LIMIT_MB // 2 < group.peak_mb()


def test_without_a_memory_limit(group_of: Callable[..., Cgroup]) -> None:
    group = group_of(None)
    assert said(start(group, f"kept = bytearray({LIMIT_MB * 2} * MB); print('done')")) == "done"
    assert group.peak_mb() >= LIMIT_MB * 2


FORKS = """
forked = 0
try:
    while forked < 100:
        if os.fork() == 0: time.sleep(60)
        forked += 1
except OSError as error:
    print(forked, error.errno, flush=True)
time.sleep(60)
"""


def test_processes_are_counted_and_removal_ends_them(group_of: Callable[..., Cgroup]) -> None:
    group = group_of(processes=7)
    process = start(group, "os.setsid()" + FORKS)
    assert process.stdout.readline().split() == ["6", str(errno.EAGAIN)]
    group.remove()
    assert said(process) == ""  # the end of its output, which all seven held
    assert process.returncode == -signal.SIGKILL
    assert folders(os.getpid()) == []


def test_joining_takes_no_rights_of_ones_own(group_of: Callable[..., Cgroup]) -> None:
    group = group_of()
    namespaces = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"]
    if subprocess.run([*ordinary_user(), *namespaces, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no user namespace")
    process = start(group, f"kept = bytearray({LIMIT_MB * 2} * MB); print('done')", *ordinary_user(), *namespaces)
    assert said(process) == ""
    assert group.oom_kills() >= 1


def test_no_descriptor_is_left_or_inherited(group_of: Callable[..., Cgroup]) -> None:
    before = os.listdir("/proc/self/fd")
    group = group_of()
    assert {os.get_inheritable(fd) for fd in group.procs} == {False}
    group.close_procs()
    assert os.listdir("/proc/self/fd") == before


CREATES = """
import os, sys
from looper.sandbox.cgroup import Cgroup
for _ in range(int(sys.argv[1])):
    group = Cgroup.create(10, 10)
    if len(sys.argv) > 2: os.kill(os.getpid(), 9)
    group.remove()
"""


def test_what_the_dead_left_is_swept(group_of: Callable[..., Cgroup]) -> None:
    empty, used = group_of(), group_of()
    process = start(used, "time.sleep(600)")
    dead = subprocess.Popen([sys.executable, "-c", CREATES, "1", "die"], cwd=ROOT)
    dead.wait()
    (left, *_), mine = folders(dead.pid), folders(os.getpid())
    ns, pid, started, number = left.name.removeprefix("looper-").split("-")
    reused = left.with_name(f"looper-{ns}-{os.getpid()}-1-{number}")  # our number, of a process before us
    elsewhere = left.with_name(f"looper-{int(ns) + 1}-{pid}-{started}-{number}")
    for folder in (reused, elsewhere):
        folder.mkdir()
    try:
        sweep()
        assert folders(dead.pid) == [elsewhere]
        assert sorted(folders(os.getpid())) == sorted(mine)
    finally:
        elsewhere.rmdir()
        process.kill()
        process.communicate()
    assert empty.oom_kills() == 0


def test_many_at_once(group_of: Callable[..., Cgroup]) -> None:
    many = [subprocess.Popen([sys.executable, "-c", CREATES, "40"], cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in many] == [0, 0, 0, 0]
    assert [folders(process.pid) for process in many] == [[], [], [], []]


ASKS = "from looper.sandbox.cgroup import Cgroup, available; print(tuple(available()), Cgroup.create(10, 10) is None)"


@pytest.mark.parametrize("place", ["ordinary user", "nothing can be written"])
def test_where_there_is_none(place: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user or mount")
    seal = "while read -r _ at kind _; do case $kind in cgroup*) mount -o remount,bind,ro $at;; esac; done"
    sealed = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", f'{seal} < /proc/mounts; exec "$@"', "sh"]
    before = ordinary_user() if place == "ordinary user" else sealed
    asked = subprocess.run([*before, sys.executable, "-c", ASKS], cwd=ROOT, capture_output=True, text=True, check=True)
    layer, _, none = asked.stdout.rpartition(" ")
    name, on, why, fix = ast.literal_eval(layer)
    assert (name, on, none.strip()) == ("cgroup", False, "True")
    assert why.startswith("Memory is enforced by looking every 20 ms; it may overshoot")
    assert fix


V1 = "30 23 0:28 {root} /sys/fs/cgroup/{c} rw,relatime shared:9 - cgroup cgroup rw,{c}\n"
V2 = "35 23 0:29 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
ALL, PART = V2.format(root="/"), V2.format(root="/box/7")
BOXED = V1.format(root="/box/7", c="memory") + V1.format(root="/box/7", c="cpu,pids")
PLACES = {
    "systemd": (ALL, "0::/user.slice/run-7.scope\n", {"": "user.slice/run-7.scope"}),
    "a container": (ALL, "0::/\n", {"": ""}),
    "a part of the tree": (PART, "0::/box/7/a\n", {"": "a"}),
    "beside what is shown": (PART, "0::/box/77\n", {}),
    "above what is shown": (ALL, "0::/../other\n", {}),
    "version 1": (
        BOXED,
        "5:pids:/box/7/x\n4:memory:/box/7\n1:name=systemd:/\n",
        {"memory": "memory", "pids": "cpu,pids/x"},
    ),
    "both": (V1.format(root="/", c="memory") + ALL, "4:memory:/a:b\n0::/c\n", {"memory": "memory/a:b", "": "c"}),
}


@pytest.mark.parametrize("place", PLACES)
def test_where_a_process_is(tmp_path: Path, place: str) -> None:
    mounts, groups, expected = PLACES[place]
    (tmp_path / "mountinfo").write_text("22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n" + mounts)
    (tmp_path / "cgroup").write_text(groups)
    assert own_groups(tmp_path) == {name: Path("/sys/fs/cgroup", folder) for name, folder in expected.items()}


@pytest.mark.parametrize(
    ("offers", "holds", "kind", "found"),
    [
        ("cpu memory pids", [os.getpid()], "domain", ""),
        ("cpu pids", [os.getpid()], "domain", "no memory controller"),
        ("", [os.getpid()], "domain", "no memory and no pids controller"),
        ("memory pids", [os.getpid(), os.getppid()], "domain", f"looper did not start: {os.getppid()}"),
        ("memory pids", [0, os.getpid()], "domain", "looper did not start: 0"),
        ("memory pids", [os.getpid(), os.getppid()], None, ""),  # the machine's own group: nobody has to move
    ],
)
def test_what_can_be_divided(tmp_path: Path, offers: str, holds: list[int], kind: str | None, found: str) -> None:
    (tmp_path / "cgroup.controllers").write_text(offers)
    (tmp_path / "cgroup.subtree_control").touch()
    (tmp_path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in holds))
    if kind:
        (tmp_path / "cgroup.type").write_text(kind)
    assert found in obstacle(tmp_path)
    assert bool(found) == bool(obstacle(tmp_path))
    (tmp_path / "cgroup.subtree_control").unlink()
    assert obstacle(tmp_path)


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A group of cgroup v2 with its controllers, and nothing in it."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if " cgroup2 " in line]
    controls = [Path(mount, "cgroup.subtree_control") for mount in mounts]
    if os.geteuid() != 0 or not any({"memory", "pids"} <= {*control.read_text().split()} for control in controls):
        pytest.skip("no group of cgroup v2 with a memory and a pids controller can be made here")
    folder = Path(mounts[0], f"looper-test-{os.getpid()}")
    folder.mkdir()
    yield folder
    for group in (*folder.glob("*/"), folder):
        assert eventually(lambda group=group: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.mark.parametrize("with_stranger", [False, True])
def test_a_delegated_group_is_divided_when_looper_is_alone_in_it(delegated: Path, with_stranger: bool) -> None:
    procs = os.open(delegated / "cgroup.procs", os.O_WRONLY)
    stranger = subprocess.Popen(["sleep", "600"])
    if with_stranger:
        os.write(procs, str(stranger.pid).encode())
    divide = "os.fork() or (time.sleep(1), os._exit(0))\nfrom looper.sandbox import cgroup; print(cgroup.available())"
    command = [sys.executable, "-c", JOIN + divide, str(procs)]
    asked = subprocess.run(command, pass_fds=[procs], cwd=ROOT, capture_output=True, text=True, check=True)
    os.close(procs)
    stranger.kill()
    stranger.wait()
    assert ("name='cgroup-v2', on=True" in asked.stdout) != with_stranger
    assert (f"looper did not start: {stranger.pid}" in asked.stdout) == with_stranger
