"""Sends an answer before it was asked, for the next question."""
# defence: each answer is checked for what was asked
# holds from: process
# ends: invalid

from looper.evaluation import worker


def attack(host):
    worker._send({"value": {"refused": ""}})
