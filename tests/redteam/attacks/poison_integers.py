"""Changes the value of an integer that Python keeps once for all, in the memory that processes were forked with."""
# defence: a worker is a fork; memory is copied when it is written to
# holds from: process
# runs: 2

import ctypes

WORD = ctypes.sizeof(ctypes.c_ssize_t)


def attack(host):
    if int("2" + "39") - int("1" + "00") != int("1" + "39"):
        return "an integer that an earlier candidate changed"
    ctypes.c_uint32.from_address(id(239) + object.__basicsize__ + WORD).value = 240
    if int("2" + "39") != int("2" + "40"):
        raise AssertionError("the integer could not be changed")
