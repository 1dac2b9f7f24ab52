"""Changes the inputs, so that its answer becomes the right one."""
# defence: what is shared is sealed against writing by the kernel
# holds from: process

import ctypes
import os


def attack(host):
    def flag():
        try:
            host.array.flags.writeable = True
            host.array[:] = 0
        except ValueError as error:
            raise PermissionError(1, str(error)) from None

    def through_memory():
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(host.array.ctypes.data)
            memory.write(bytes(64))

    def protect():
        page = host.array.ctypes.data & ~4095
        host.call("mprotect", ctypes.c_void_p(page), ctypes.c_size_t(4096), 3)
        ctypes.memset(host.array.ctypes.data, 0, 64)

    def through_descriptor():
        for name in os.listdir("/proc/self/fd"):
            if "memfd" in os.readlink(f"/proc/self/fd/{name}"):
                with open(f"/proc/self/fd/{name}", "r+b", buffering=0) as file:
                    file.write(bytes(64))

    return host.first(flag, through_memory, protect, through_descriptor)
