"""Exits with status 0 while a daemon holds its output open."""
# defence: PID namespace, else subreaper and kill loop
# holds from: process
# ends: crash

import os


def attack(host):
    host.orphan(host.wait)
    os._exit(0)
