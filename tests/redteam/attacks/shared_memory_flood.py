"""Takes more memory than the budget allows, as System V segments that no process maps."""
# defence: seccomp at landlock level; IPC namespace of its own and control group
# holds from: landlock
# ends: ok oom crash

import ctypes

MB = 1 << 20
IPC_CREAT, IPC_RMID = 0o1000, 0


def attack(host):
    host.libc.shmat.restype = ctypes.c_void_p
    segments = []
    try:
        for n in range(6):
            segments.append(host.call("shmget", host.key + n, ctypes.c_size_t(100 * MB), IPC_CREAT | 0o600))
            place = host.libc.shmat(segments[-1], None, 0)
            ctypes.memset(ctypes.c_void_p(place), 1, 100 * MB)
            host.call("shmdt", ctypes.c_void_p(place))
    finally:
        for segment in segments:
            host.call("shmctl", segment, IPC_RMID, None)
    return f"{len(segments) * 100} MiB"
