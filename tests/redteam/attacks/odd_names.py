"""Leaves files behind whose names are no text, hold line ends, or are as long as can be."""
# defence: names from a worker are never read as text
# holds from: process

import os


def attack(host):
    folder = os.fsencode(os.environ["TMPDIR"])
    for name in (b"\xff\xfe", b"line\nend\r", b"\x1b[2J", b"x" * 255, "\u202eflipped".encode()):
        os.close(os.open(folder + b"/" + name, os.O_CREAT))
