"""Commands that put a program where looper has fewer rights, for real: no namespaces, or an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NO_NAMESPACES = """
for kind in user pid; do echo 0 > /proc/sys/user/max_${kind}_namespaces; done
exec "$@"
"""

# Where the interpreter lies below a folder that only root may enter, that folder is shown empty but for it.
ORDINARY_USER = """
set -e
if [ -n "$CLOSED" ]; then
    mount --bind "$OPEN" /mnt
    mount -t tmpfs -o mode=755 tmpfs "$CLOSED"
    mkdir -p "$OPEN"
    mount --bind /mnt "$OPEN"
fi
exec setpriv --reuid=1234 --regid=1234 --clear-groups "$@"
"""


def no_namespaces() -> list[str]:
    """A command in front of which the kernel refuses new PID and user namespaces."""
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", NO_NAMESPACES, "sh"]
    return command if _runs(command) else []  # where this cannot be made, it holds already


def ordinary_user() -> list[str]:
    """A command in front of which nothing is root's."""
    if os.geteuid() != 0:
        return []
    home = Path(sys.executable).resolve().parent.parent
    closed = next((str(place) for place in reversed(home.parents) if not place.stat().st_mode & 0o001), "")
    names = ["env", f"CLOSED={closed}", f"OPEN={home}"]
    command = [*names, "unshare", "--mount", "--propagation", "private", "sh", "-c", ORDINARY_USER, "sh"]
    if not _runs([*command, sys.executable, "-c"]):
        pytest.skip("this machine cannot show the interpreter to another user")
    return command


def _runs(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    true = ["pass"] if command[-1] == "-c" else ["true"]
    return subprocess.run([*command, *true], capture_output=True, check=False).returncode == 0


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an ordinary user can write to too; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="looper-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)
