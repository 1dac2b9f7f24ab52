"""Opens the library and the installed packages for writing, which the evaluator imports."""
# defence: read-only; not granted by Landlock
# holds from: landlock
# needs: root

import importlib.util
import json

import numpy

import looper


def attack(host):
    files = [json.__file__, numpy.__file__, looper.__file__, importlib.util.cache_from_source(json.__file__)]
    return host.open_to_write(*files, "/etc/passwd", "/etc/ld.so.cache", "/usr/bin/env")
