"""Locked: calls the attack in the worker, and lends it tools.

An attack returns what it got, in words, or nothing; an OSError is the system's refusal.
"""

import contextlib
import ctypes
import errno
import os
import platform
import time
from pathlib import Path

SYSCALLS = {  # x86-64, aarch64
    "clone": (56, 220),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "mq_open": (240, 180),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "pidfd_getfd": (438, 438),
}
ARCHITECTURE = 1 if platform.machine() == "aarch64" else 0


def attack(candidate, bait, array):
    host = Host(bait, array)
    host.mark_this_process()
    try:
        got = candidate.attack(host)
    except OSError as error:
        return {"refused": f"{errno.errorcode.get(error.errno, error.errno)} {error.strerror}"}
    return {"reached": str(got)} if got else {"refused": "found nothing"}


def answer(candidate):
    return candidate.answer() if hasattr(candidate, "answer") else 0


class Host:
    """What the attack is told of the host: every place by name, as if it had found out already; and tools."""

    def __init__(self, bait, array):
        self.__dict__.update(bait)
        self.array = array
        self.libc = ctypes.CDLL(None, use_errno=True)

    def mark_this_process(self):
        """So that the host recognises it and what it forks, in whatever namespace."""
        os.set_inheritable(os.open(f"{os.environ['TMPDIR']}/{self.mark}", os.O_CREAT | os.O_RDWR), True)
        self.libc.prctl(15, self.mark.encode(), 0, 0, 0)

    def call(self, name, *args):
        """A function of the C library. Raises OSError where it returns -1."""
        return self._checked(getattr(self.libc, name)(*args))

    def syscall(self, name, *args):
        """A system call. Raises OSError where it returns -1."""
        self.libc.syscall.restype = ctypes.c_long
        return self._checked(self.libc.syscall(ctypes.c_long(SYSCALLS[name][ARCHITECTURE]), *args))

    def child(self, action):
        """Fork; the child does ``action()`` and ends."""
        pid = os.fork()
        if pid == 0:
            try:
                action()
            finally:
                os._exit(0)
        return pid

    def orphan(self, action):
        """A daemon: a session of its own, and no parent."""

        def again():
            os.setsid()
            self.child(action)

        os.waitpid(self.child(again), 0)

    def in_child(self, action):
        """What ``action()`` returns or raises in a child that ends afterwards, so that it spoils this process not."""
        read, write = os.pipe()

        def tell():
            try:
                os.write(write, f"0 {action() or ''}".encode())
            except OSError as error:
                os.write(write, f"{error.errno} {error.strerror}".encode())

        pid = self.child(tell)
        os.close(write)
        with open(read) as pipe:
            code, _, text = pipe.read().partition(" ")
        _, status = os.waitpid(pid, 0)
        if code == "" and os.WIFSIGNALED(status):
            raise OSError(errno.EINTR, f"ended by signal {os.WTERMSIG(status)}")
        if code not in ("", "0"):
            raise OSError(int(code), text)
        return text

    def first(self, *ways):
        """What the first of the ways returns that is neither refused nor finds nothing."""
        refusal = None
        for way in ways:
            try:
                if got := way():
                    return got
            except OSError as error:
                refusal = error
        if refusal is not None:
            raise refusal
        return None

    def read(self, *paths):
        """The text of the first of the files that can be read."""
        return self.first(*(lambda path=path: Path(path).read_bytes().decode(errors="replace") for path in paths))

    def open_to_write(self, *paths):
        """The first of the files that can be opened for writing; nothing is written."""

        def way(path):
            os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW))
            return path

        return self.first(*(lambda path=path: way(path) for path in paths))

    def uncover_proc(self):
        """Unmount a /proc that was mounted over the host's, where one is: then process numbers are the host's."""
        with open("/proc/self/mounts") as f:
            covers = sum(line.split()[1:3] == ["/proc", "proc"] for line in f) - 1
        with contextlib.suppress(OSError):
            for _ in range(covers):
                self.call("umount2", b"/proc", 2)

    @staticmethod
    def wait():
        while True:
            time.sleep(60)

    @staticmethod
    def _checked(result):
        if result == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result
