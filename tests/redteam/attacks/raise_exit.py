"""Raises SystemExit with status 0."""
# defence: an exception is a crash, whichever it is
# holds from: process
# ends: crash


def attack(host):
    raise SystemExit(0)
