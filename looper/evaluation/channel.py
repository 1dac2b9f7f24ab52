"""The evaluator's end of the conversation with a worker: never blocks longer than a tick."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from looper.evaluation import wire
from looper.evaluation.logtext import Tail

TICK_MS = 20  # how often deadlines and memory are looked at while a worker is silent
READ = 1 << 16  # bytes of the log taken at once, what a pipe holds


class Closed(Exception):
    """The worker's end of the channel is gone."""


class Channel:
    """Sends and receives frames while it drains the worker's log and lets ``tick`` check the budgets."""

    def __init__(self, sock: socket.socket, log_fd: int, tick: Callable[[], None]) -> None:
        self._sock, self._log_fd, self._tick = sock, log_fd, tick
        self._sock.setblocking(False)
        os.set_blocking(log_fd, False)
        self._log_open = True
        self.log = Tail()

    def send(self, frame: wire.Frame) -> None:
        """Send one frame, with the memory files it names.

        Raises:
            Closed: when the worker is gone.
        """
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", frame.fds))] if frame.fds else []
        try:
            self._wait(select.POLLOUT)
            sent = self._sock.sendmsg([frame.head], rights)
            for part in (memoryview(frame.head)[sent:], *frame.parts):
                while part:
                    self._wait(select.POLLOUT)
                    with contextlib.suppress(BlockingIOError):  # room for less than the kernel will split off
                        part = part[self._sock.send(part) :]
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self, max_payload: int) -> Any:
        """The next frame.

        Raises:
            WireError: when it is malformed or its arrays are larger than ``max_payload`` bytes.
            Closed: when the worker is gone.
        """
        header, payload = wire.lengths(self._read(wire.PREFIX.size), max_payload)
        head = self._read(header)
        return wire.decode(head, self._read(payload))

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            self._wait(select.POLLIN)
            try:
                got = self._sock.recv_into(view)
            except ConnectionResetError:
                got = 0
            if not got:
                raise Closed
            view = view[got:]
        return data

    def _wait(self, event: int) -> None:
        """Return once the socket is ready; meanwhile drain the log and tick."""
        while True:
            self._tick()
            poller = select.poll()
            poller.register(self._sock, event)
            if self._log_open:
                poller.register(self._log_fd, select.POLLIN)
            ready = [fd for fd, _ in poller.poll(TICK_MS)]
            if self._log_fd in ready:
                self._take()
            if self._sock.fileno() in ready:
                return

    def _take(self) -> bool:
        """Take some of what the worker has printed; False when there is nothing."""
        try:
            data = os.read(self._log_fd, READ)
        except BlockingIOError:
            return False
        self._log_open = bool(data)
        self.log.add(data)
        return self._log_open

    def close(self) -> None:
        """For a worker that is dead: take the rest of its log, and let go."""
        while self._take():
            pass
        self._sock.close()
        os.close(self._log_fd)
