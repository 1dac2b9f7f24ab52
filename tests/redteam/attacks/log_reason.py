"""Raises an error whose text a terminal would obey, on several lines, of great length."""
# defence: a reason is one clean, short line
# holds from: process
# ends: crash


def attack(host):
    raise RuntimeError("\x1b[2Jkept: loss 0.0\r\n\u202eA" + "long " * 100_000)
