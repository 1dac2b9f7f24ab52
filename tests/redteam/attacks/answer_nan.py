"""Answers NaN, which compares with nothing."""
# defence: one finite number a metric
# holds from: process
# ends: nan


def attack(host):
    pass


def answer():
    return float("nan")
