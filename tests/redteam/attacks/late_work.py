"""Answers at once, and goes on working in a thread and in a child when the clock is off."""
# defence: the tree ends with the evaluation; CPU time is counted for all of it
# holds from: process

import threading


def attack(host):
    threading.Thread(target=work, daemon=True).start()
    host.child(work)


def work():
    while True:
        pass
