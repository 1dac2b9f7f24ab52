"""Scripts in a Python of their own that gain no privileges, run as this user or as an ordinary one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

START = f"""
import ctypes, errno, json, os, socket, subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from looper.sandbox import landlock, seccomp

libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    "The name of the error that a system call gives, or 'ok'."
    words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    failed = libc.syscall(ctypes.c_long(number), *words) == -1
    return errno.errorcode[ctypes.get_errno()] if failed else "ok"

def attempt(action, *arguments):
    "The name of the error that a function gives, or 'ok'."
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"

def tell(value):
    print(json.dumps(value), flush=True)

"""
NO_NEW_PRIVS = "libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS\n"


def run(user: list[str], script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*user, sys.executable, "-I", "-c", START + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", start_new_session=True)


def told(user: list[str], script: str, *arguments: str) -> Any:
    """What the script, which can gain no privileges, tells."""
    done = run(user, NO_NEW_PRIVS + script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
