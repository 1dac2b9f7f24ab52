"""Reports an error in a shape that no worker reports."""
# defence: frames are parsed strictly
# holds from: process
# ends: invalid

from looper.evaluation import worker


def attack(host):
    worker._send({"error": {"text": ["a list"], "trace": 5, "kind": {"status": "ok"}}})
