"""Reads the memory of the process above it with process_vm_readv."""
# defence: seccomp; a user of its own
# holds from: landlock
# needs: root

import ctypes
import os


class Part(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("size", ctypes.c_size_t))


def attack(host):
    here = ctypes.create_string_buffer(b"before", 4096)
    there = ctypes.addressof(ctypes.create_string_buffer(16))  # the same place in a process that was forked from
    mine, theirs = Part(ctypes.addressof(here), 16), Part(there & ~4095, 16)
    got = host.call("process_vm_readv", os.getppid(), ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
    return f"{got} bytes of the process above it"
