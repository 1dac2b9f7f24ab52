"""Answers minus infinity."""
# defence: one finite number a metric
# holds from: process
# ends: nan


def attack(host):
    pass


def answer():
    return float("-inf")
