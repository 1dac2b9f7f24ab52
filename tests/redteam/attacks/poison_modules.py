"""Replaces what the next candidate's worker is made of, in every module that both might share."""
# defence: a worker is a fork; nothing comes back from it
# holds from: process
# runs: 2

import builtins
import json
import os
import socket
import sys

import numpy

from looper.evaluation import wire, worker


def attack(host):
    if hasattr(sys, "poisoned") or hasattr(builtins, "poisoned") or hasattr(numpy, "poisoned"):
        return "a module that an earlier candidate replaced"
    for module in (sys, builtins, numpy, json, os, socket, wire, worker):
        module.poisoned = True
    json.load = wire.map_array = os.fork = socket.send_fds = lambda *args, **kwargs: {"value": 0}
    for name in list(sys.modules):
        if name.startswith("looper") and name != "looper.evaluation.worker":
            del sys.modules[name]
