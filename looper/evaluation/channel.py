"""The evaluator's end of the conversation with a worker: never blocks longer than a tick."""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from looper.evaluation import wire
from looper.evaluation.logtext import Tail

TICK_S = 0.02  # how often deadlines and memory are looked at while a worker is silent


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

    def send(self, value: Any) -> None:
        """Send one frame, with the memory files it names.

        Raises:
            WireError: when the value cannot be sent.
            Closed: when the worker is gone.
        """
        head, parts, fds = wire.encode(value)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._wait(write=True)
            sent = self._sock.sendmsg([head], rights)
            for part in (memoryview(head)[sent:], *parts):
                while part:
                    self._wait(write=True)
                    part = part[self._sock.send(part) :]
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self, max_payload: int) -> Any:
        """The next frame.

        Raises:
            WireError: when it is malformed or its arrays are larger than ``max_payload`` bytes.
            Closed: when the worker is gone.
        """
        header, payload = wire.lengths(bytes(self._read(wire.PREFIX.size)), max_payload)
        head = self._read(header)
        return wire.decode(head, self._read(payload))

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            self._wait()
            try:
                got = self._sock.recv_into(view)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                got = 0
            if not got:
                raise Closed
            view = view[got:]
        return data

    def _wait(self, write: bool = False) -> None:
        """Return once the socket is ready; meanwhile drain the log and tick."""
        while True:
            self._tick()
            reading: list[Any] = [] if write else [self._sock]
            if self._log_open:
                reading.append(self._log_fd)
            ready, writable, _ = select.select(reading, [self._sock] if write else [], [], TICK_S)
            if self._log_fd in ready:
                self.drain(once=True)
            if self._sock in ready or writable:
                return

    def drain(self, once: bool = False) -> None:
        """Take what the worker has printed so far."""
        while self._log_open:
            try:
                data = os.read(self._log_fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                self._log_open = False
            self.log.add(data)
            if once:
                return

    def close(self) -> None:
        self._sock.close()
        os.close(self._log_fd)
        self._log_open = False
