"""The smallest worker: answers one byte, to show that a backend can start one."""

from __future__ import annotations

import os


def main(channel: int) -> None:
    os.write(channel, b"!")
