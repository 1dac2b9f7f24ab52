"""Answers a number beyond every float."""
# defence: the evaluator looks at the size first
# holds from: process
# ends: invalid


def attack(host):
    pass


def answer():
    return 10**400
