"""Makes its end of the channel send a finished result instead of an answer."""
# defence: frames are parsed strictly, and hold claims, never results
# holds from: process
# ends: invalid

from looper.evaluation import wire


def attack(host):
    honest = wire.encode
    wire.encode = lambda value: honest({"event": "result", "status": "ok", "metrics": {"loss": 0.0}})
