"""Landlock: a process gives up, for itself and all that it will fork or execute, every file but those it names.

What is covered: opening, making, removing and renaming files, executing, device ioctls; TCP bind and connect (from
ABI 4); abstract Unix sockets and signals to processes outside (from ABI 6); ptrace and /proc of processes outside.
What is not covered: descriptors that are open already; stat, readlink, chmod, chown, utime and xattr where the user
may; UDP; Unix sockets that have a path. Seccomp and mounts are for those.

The numbers are those of linux/landlock.h; the calls have the same on every machine but Alpha.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from looper.sandbox import linux

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
TCP = 0b11  # bind, connect
OUTSIDE = 0b11  # abstract Unix sockets, signals

READ = EXECUTE | READ_FILE | READ_DIR
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the kernel takes no other for a file

REFUSED = "Landlock refused"  # begins every error of its calls


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none, or where it is switched off."""
    try:
        return linux.syscall(REFUSED, CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(
    readable: Iterable[str], writable: Iterable[str], devices: Iterable[str], hidden: Iterable[str] = ()
) -> None:
    """Leave this thread, and what it will fork or execute, these files alone, for good. No TCP, no signals outside.

    The caller has set PR_SET_NO_NEW_PRIVS and has no other thread. A path that is missing, or cannot be reached
    anyway, is passed over; a symbolic link stands for what it points to.

    Args:
        readable: files, or folders with all that is beneath: read, list, execute.
        writable: likewise: everything but making device nodes and device ioctls.
        devices: device nodes: read, write, ioctl.
        hidden: files or folders whose contents stay closed, although they lie beneath readable ones. The folders
            above one are granted child by child, as they are now: a file that is added there later is closed too.
            They can still be listed, which importing needs; as the right to list holds for all that is beneath, so
            can a hidden folder: names are seen, contents are not. A hard link elsewhere to a hidden file is no
            less readable for it.

    Raises:
        OSError: when the kernel has no Landlock, or refuses.
        ValueError: when something hidden lies beneath something writable, where nothing can be hidden.
    """
    closed = [os.path.realpath(path) for path in hidden]
    version = abi()
    if not version:
        raise OSError(
            ctypes.get_errno(), "no Landlock: it needs Linux 5.13 and landlock among the kernel's lsm= modules"
        )
    ruleset = linux.syscall(REFUSED, CREATE_RULESET, *_attributes(version), 0)
    try:
        for path in readable:
            _grant_but(ruleset, os.path.realpath(path), closed)
        for path in writable:
            real = os.path.realpath(path)
            if any(_is_beneath(secret, real) for secret in closed):
                raise ValueError(f"something hidden lies beneath {path}, which is writable: make less of it writable")
            _grant(ruleset, real, _files(version) & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV))
        for path in devices:
            _grant(ruleset, os.path.realpath(path), DEVICE & _files(version))
        linux.syscall(REFUSED, RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _files(version: int) -> int:
    """Every right on files that this version knows."""
    newer = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
    return REFER - 1 | sum(right for since, right in newer.items() if version >= since)


def _attributes(version: int) -> tuple[bytes, int]:
    """struct landlock_ruleset_attr and its size: the rights that are refused unless granted."""
    network = TCP if version >= 4 else 0
    scoped = OUTSIDE if version >= 6 else 0
    packed = struct.pack("=QQQ", _files(version), network, scoped)
    return packed, len(packed)  # an older kernel takes the longer struct, if what it does not know is 0


def _grant_but(ruleset: int, path: str, closed: list[str]) -> None:
    """Grant reading what is at this path and beneath, but for what is closed."""
    if any(_is_beneath(path, secret) for secret in closed):
        return
    if not any(_is_beneath(secret, path) for secret in closed):
        _grant(ruleset, path, READ)
        return
    _grant(ruleset, path, READ_DIR)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for name in os.listdir(path):
            _grant_but(ruleset, os.path.join(path, name), closed)


def _grant(ruleset: int, path: str, rights: int) -> None:
    """Grant rights on what is at this path and beneath; not on what a symbolic link points to."""
    try:
        beneath = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        kind = os.fstat(beneath).st_mode
        if stat.S_ISLNK(kind):
            return
        allowed = rights if stat.S_ISDIR(kind) else rights & OF_A_FILE
        rule = struct.pack("=Qi", allowed, beneath)  # struct landlock_path_beneath_attr
        linux.syscall(REFUSED, ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(beneath)


def _is_beneath(path: str, folder: str) -> bool:
    """Whether a path is this one or below it; both are real paths."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
