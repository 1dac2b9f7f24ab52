"""Sends arrays with negative sides, unknown kinds and objects in them."""
# defence: a short list of kinds and shapes
# holds from: process
# ends: invalid

from looper.evaluation import wire, worker


def attack(host):
    for kind, shape in (("float64", "[-1]"), ("object", "[1]"), ("float64", "true")):
        frame = f'{{"d":{{"value":{{"a":["{kind}",{shape}]}}}}}}'.encode()
        worker._channel.sendall(wire.PREFIX.pack(len(frame), 8) + frame + bytes(8))
