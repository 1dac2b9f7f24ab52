"""A filter on system calls, that a process puts on itself and on all that it will fork or execute.

What is covered: new namespaces and mounts, other processes' memory, descriptors, limits and priority, every socket
but Unix ones, messages and memory that outlive a run, the doors to the kernel that a computation never needs, calls
of another instruction set, and calls newer than this list.
What is not covered: what the allowed calls do to files, which is for mounts and Landlock to hold back; where the
host's files are in sight, changes of their attributes are refused here, since Landlock does not look at them.

An allowed call that is allowed whatever its arguments costs nothing: the kernel runs the filter once for each number
and remembers (``kernel/seccomp.c``, ``seccomp_cache_prepare``).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from functools import cache

# One number a machine: x86_64, aarch64 (which has none of the oldest calls).
Numbers = tuple[int, int | None]

#: Refused with EPERM.
FORBIDDEN: dict[str, Numbers] = {
    # another view of the files
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "mknod": (133, None),
    "mknodat": (259, 33),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # the cores and the priority: a worker keeps those that it was given, and leaves other processes theirs
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    # keys outlive a process
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # the machine's clock, name and terminals
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    # the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "uselib": (134, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
}

#: Refused with ENOSYS, as by a kernel that lacks them, so that libraries take the older way.
MISSING: dict[str, Numbers] = {
    "clone3": (435, 435),  # a filter cannot read the flags behind its pointer; libc then calls clone
    "io_uring_setup": (425, 425),  # what is asked for through a ring passes no filter
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "memfd_secret": (447, 447),
    # System V and POSIX objects live until someone removes them: the next candidate would find them.
    # Each call on them, since an identifier left by someone else needs no *get.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
#: Refused with EPERM where the host's files are in sight: Landlock does not look at these, and their owner may.
ATTRIBUTES: dict[str, Numbers] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
MEMFD_CREATE = (319, 279)
CLONE, UNSHARE, PERSONALITY, IOCTL = (56, 220), (272, 97), (135, 92), (16, 29)
PRLIMIT64, SOCKET, SOCKETPAIR, SECCOMP = (302, 261), (41, 198), (53, 199), (317, 277)
LAST_KNOWN = 469  # file_setattr, Linux 6.17; what comes after is ENOSYS. So is the x32 table, which starts at 2**30.

CLONE_PARENT = 0x8000  # makes a sibling, hidden from whoever accounts for a worker's children
CLONE_NEWTIME = 0x80  # of unshare alone: in clone these bits are the signal
CLONE_NEW = 0x7E020000  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
PER_LINUX, PERSONALITY_QUERY = 0, 0xFFFFFFFF
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # both type on a terminal in its owner's name
AF_UNIX = 1
# In a Unix socket's type: datagrams (2) and raw (3, which Linux makes datagrams). One of a datagram pair can be
# connected anew to any socket of the machine; a stream (1) or a sequence of packets (5) cannot.
DATAGRAM_BIT = 2
PACKETS_BIT = 4  # in a Unix socket's type that is no datagram, a sequence of packets

# linux/filter.h, linux/seccomp.h, linux/audit.h
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, JUMP_IF_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16
KILL_PROCESS, ERRNO = 0x80000000, 0x00050000
SET_MODE_FILTER, FLAG_TSYNC, FLAG_SPEC_ALLOW = 1, 1, 4
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

Code = tuple[tuple[int, int, int, int], ...]  # struct sock_filter: code, jump if true, jump if false, constant

ALLOW: Code = ((RETURN, 0, 0, 0x7FFF0000),)


def install(*, own_files: bool, memfds: bool, cuda: bool = False) -> None:
    """Filter the calls of this process, all its threads, and whatever they fork or execute, for good.

    The caller has set PR_SET_NO_NEW_PRIVS.

    Args:
        own_files: whether the process has a file system of its own. Else no Unix socket may be made that can reach
            others (a ``socketpair`` of streams or packets, which is connected for good, may), and no file's mode,
            owner, times or extended attributes may be changed.
        memfds: whether files may be made in memory alone (memfd_create).
        cuda: whether a Unix socket of packets may be made in any case: a CUDA driver listens on one, and fails without.

    Raises:
        OSError: when the kernel refuses, or the machine is neither x86_64 nor aarch64.
    """
    machine = os.uname().machine if sys.maxsize > 2**32 else f"a 32-bit Python on {os.uname().machine}"
    steps = program(machine, own_files, memfds, cuda)
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    filter_ = struct.pack("@HP", len(steps), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_long(SECCOMP[list(ARCHITECTURES).index(machine)])
    flags = ctypes.c_long(FLAG_TSYNC | FLAG_SPEC_ALLOW)  # without the second, the CPU speculates less in all that runs
    failed = libc.syscall(number, ctypes.c_long(SET_MODE_FILTER), flags, filter_)
    if failed:  # -1, or the thread that has another filter
        error = ctypes.get_errno() if failed == -1 else errno.EBUSY
        needs = "the kernel needs CONFIG_SECCOMP_FILTER, and the process no_new_privs"
        raise OSError(error, f"no system call filter: {os.strerror(error)}; {needs}")


@cache
def program(machine: str, own_files: bool, memfds: bool, cuda: bool = False) -> Code:
    """The filter in classic BPF; the arguments are those of :func:`install`.

    Raises:
        OSError: for a machine whose system calls are not known here.
    """
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}: use x86_64 or aarch64")
    return (
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_IF_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER_AT),
        *_search(_rules(list(ARCHITECTURES).index(machine), own_files, memfds, cuda)),
    )


def _rules(column: int, own_files: bool, memfds: bool, cuda: bool) -> list[tuple[int, Code]]:
    """The rule that holds from each of these call numbers on, in order."""
    eperm, eacces, enosys = _refuse(errno.EPERM), _refuse(errno.EACCES), _refuse(errno.ENOSYS)
    calls = {numbers: eperm for numbers in FORBIDDEN.values()} | {numbers: enosys for numbers in MISSING.values()}
    calls |= {} if own_files else dict.fromkeys(ATTRIBUTES.values(), eperm)
    packets = _if(JUMP_IF_ANY_BIT, 1, DATAGRAM_BIT, eacces, _if(JUMP_IF_ANY_BIT, 1, PACKETS_BIT, ALLOW, eacces))
    sockets = _if(JUMP_IF_EQUAL, 0, AF_UNIX, ALLOW if own_files else packets, eacces)
    calls |= {
        MEMFD_CREATE: ALLOW if memfds else enosys,
        CLONE: _if(JUMP_IF_ANY_BIT, 0, CLONE_NEW | CLONE_PARENT, eperm, ALLOW),
        UNSHARE: _if(JUMP_IF_ANY_BIT, 0, CLONE_NEW | CLONE_NEWTIME, eperm, ALLOW),
        PERSONALITY: _if(JUMP_IF_EQUAL, 0, PER_LINUX, ALLOW, _if(JUMP_IF_EQUAL, 0, PERSONALITY_QUERY, ALLOW, eperm)),
        IOCTL: _if(JUMP_IF_EQUAL, 1, TIOCSTI, eperm, _if(JUMP_IF_EQUAL, 1, TIOCLINUX, eperm, ALLOW)),
        PRLIMIT64: _if(JUMP_IF_EQUAL, 0, 0, ALLOW, eperm),  # one's own limits, not those of looper
        SOCKET: sockets if own_files or cuda else eacces,
        SOCKETPAIR: _if(
            JUMP_IF_EQUAL,
            0,
            AF_UNIX,
            ALLOW if own_files else _if(JUMP_IF_ANY_BIT, 1, DATAGRAM_BIT, eacces, ALLOW),
            eacces,
        ),
    }
    rules = {numbers[column]: rule for numbers, rule in calls.items()} | {LAST_KNOWN + 1: enosys}
    each = [rules.get(number, ALLOW) for number in range(LAST_KNOWN + 2)]
    return [(number, rule) for number, rule in enumerate(each) if number == 0 or rule != each[number - 1]]


def _search(rules: list[tuple[int, Code]]) -> Code:
    """A binary search for the rule of the loaded number."""
    if len(rules) == 1:
        return rules[0][1]
    middle = len(rules) // 2
    below, above = _search(rules[:middle]), _search(rules[middle:])
    return ((JUMP_IF_AT_LEAST, len(below), 0, rules[middle][0]), *below, *above)


def _if(jump: int, argument: int, value: int, then: Code, otherwise: Code) -> Code:
    """Compare the low 32 bits of an argument: the kernel reads no more of any argument that is looked at here."""
    return ((LOAD, 0, 0, ARGUMENTS_AT + 8 * argument), (jump, 0, len(then), value), *then, *otherwise)


def _refuse(code: int) -> Code:
    return ((RETURN, 0, 0, ERRNO | code),)
