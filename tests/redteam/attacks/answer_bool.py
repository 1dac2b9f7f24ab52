"""Answers True, which is 1 to those who do not look."""
# defence: types are compared, not kinds
# holds from: process
# ends: invalid


def attack(host):
    pass


def answer():
    return True
