"""The system calls that isolation is made of, through libc. Each raises OSError, naming the call, when refused."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
from collections.abc import Collection

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4  # of mount_setattr
AT_FDCWD, AT_RECURSIVE = -100, 0x8000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CAPABILITIES_V3 = 0x20080522
LAST_CAPABILITY = 63  # room for all that a kernel may have

SYS_MOUNT_SETATTR = 442  # the same on every architecture
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: object) -> int:
    """Call a function of libc.

    Raises:
        OSError: when it returns -1.
    """
    return _checked(name, getattr(libc, name)(*args))


def syscall(name: str, number: int, *args: object) -> int:
    """Make a system call that libc has no function for. Integers are passed as long.

    Raises:
        OSError: when it is refused, or unknown to this kernel.
    """
    longs = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _checked(name, libc.syscall(ctypes.c_long(number), *longs))


def _checked(name: str, result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave shared namespaces for new ones; a new PID namespace is for children."""
    call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind ``fd``, of this kind (CLONE_NEW...)."""
    call("setns", fd, kind)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    try:
        call("mount", _c(source), _c(target), _c(kind), ctypes.c_ulong(flags), _c(data))
    except OSError as error:
        raise OSError(
            error.errno, f"mount of {kind or source or 'propagation'} on {target}: {error.strerror}"
        ) from None


def bind(source: str, target: str) -> None:
    """Show ``source``, with all that is mounted below it, at ``target`` too."""
    mount(source, target, None, MS_BIND | MS_REC)


def detach(target: str) -> None:
    """Take a mount and all below it out of sight."""
    call("umount2", _c(target), MNT_DETACH)


def restrict_mount(path: str, attributes: int) -> None:
    """Set ATTR_... on the mount at ``path`` and on every mount below it. Needs Linux 5.12."""
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)  # struct mount_attr: set, clear, propagation, userns
    syscall("mount_setattr", SYS_MOUNT_SETATTR, AT_FDCWD, _c(path), AT_RECURSIVE, wanted, ctypes.sizeof(wanted))


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root and show the old root at ``old``."""
    machine = platform.machine()
    if machine not in SYS_PIVOT_ROOT:
        raise OSError(f"the number of pivot_root on {machine} is not known to looper")
    syscall("pivot_root", SYS_PIVOT_ROOT[machine], _c(new), _c(old))


def prctl(option: int, value: int) -> None:
    """prctl(2) with one value."""
    call("prctl", option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def bound_capabilities() -> None:
    """Make sure that nothing which is executed later gets a capability."""
    for capability in range(LAST_CAPABILITY + 1):
        with contextlib.suppress(OSError):  # beyond this kernel's last; or we have no right to drop it, nor to use it
            prctl(PR_CAPBSET_DROP, capability)


def drop_capabilities() -> None:
    """Give up every capability."""
    call("capset", (ctypes.c_uint32 * 2)(CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)())


def become(uid: int) -> None:
    """Be another user, in a group of its own and no others."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def map_user(uid: int, gid: int) -> None:
    """In a new user namespace: be the user that this process was outside."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as f:
            f.write(text)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent dies."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int, sig: int = signal.SIGKILL) -> None:
    """Ask the kernel for ``sig`` when the parent dies; exit now if it is dead already."""
    prctl(PR_SET_PDEATHSIG, sig)
    if os.getppid() != parent:
        os._exit(1)


def replace_fds(mode: int, *fds: int) -> None:
    """Put /dev/null, opened with ``mode``, in the place of these descriptors."""
    null = os.open(os.devnull, mode)
    for fd in fds:
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def close_all_but(kept: Collection[int]) -> None:
    """Close every descriptor but 0, 1, 2 and these."""
    low = 3
    for fd in sorted(fd for fd in kept if fd > 2):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 1 << 20)


def _c(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)
