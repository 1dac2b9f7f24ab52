"""looper's handle on the process that evaluators are forked from."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from looper.places import pycache_folder
from looper.sandbox import prepare_groups, python_code

#: What of looper's environment an evaluator gets. Nothing here is secret.
PASSED_ON = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME", "LOOPER_CACHE", "TMPDIR", "CUDA_HOME", "LD_LIBRARY_PATH")


class Nursery:
    """Started at once, so that it is ready when the first job comes, and again when it was lost.

    What it and its evaluators import is compiled into a private folder and read from there alone: a ``.pyc`` in a
    package's ``__pycache__`` can be another program's than its source, and no look at the source would show it.

    Args:
        env: environment of every slot's device; the nursery itself gets what they have in common.
        sandbox: name of the isolation backend.
        preload: modules that evaluators and workers begin with.
        gpu: whether workers may be given GPUs.
    """

    def __init__(self, env: Mapping[str, str], sandbox: str, preload: Sequence[str], gpu: bool) -> None:
        self._plan = json.dumps([sandbox, ["numpy", *preload], gpu])
        libraries = ("LD_LIBRARY_PATH", "CUDA_HOME")
        self._env = {name: os.environ[name] for name in libraries if name in os.environ} | dict(env)
        trusted = pycache_folder()
        self._temporary = None if trusted else tempfile.TemporaryDirectory(prefix="looper-pycache-")
        self._pycache = self._temporary.name if self._temporary else str(trusted)
        prepare_groups()
        self._start()

    def fork(self, device_env: Mapping[str, str], fds: list[int]) -> None:
        """Have an evaluator forked, with the three descriptors that ``looper.evaluation.nursery`` names."""
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(device_env)
        request = [json.dumps(env).encode()]
        try:
            socket.send_fds(self._requests, request, fds)
        except OSError:  # it was killed, or the machine ran out of memory: nothing was lost with it
            self._end()
            self._start()
            socket.send_fds(self._requests, request, fds)

    def close(self) -> None:
        """End it. Evaluators that run are not touched."""
        self._end()
        if self._temporary:
            self._temporary.cleanup()

    def _end(self) -> None:
        self._requests.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = "from looper.evaluation.nursery import main; main(*sys.argv[1:])"
        command = [*python_code(code, "-X", f"pycache_prefix={self._pycache}"), str(theirs.fileno()), self._plan]
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=self._env,
                start_new_session=True,
            )
