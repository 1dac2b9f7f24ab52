"""The smallest worker: says what it can reach, to show that a backend holds."""

from __future__ import annotations

import contextlib
import json
import os
import socket


def main(channel: int, folder: str) -> None:
    """Tell, as one JSON object, whether files of the host, the network and strangers' processes are within reach."""
    reached = {"files": False, "network": False, "written": False}
    with contextlib.suppress(OSError):
        os.listdir("/etc/ssh" if os.path.exists("/etc/ssh") else "/run")
        reached["files"] = True
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # of RFC 5737, nobody's; for UDP nothing is sent
        reached["network"] = True
    with contextlib.suppress(OSError):
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
        reached["written"] = True
    os.write(channel, json.dumps(reached).encode())
