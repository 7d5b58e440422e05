"""The consumer's end of a `latest` edge: a thread takes what arrives and lets the oldest go.

ZeroMQ's own option for it, CONFLATE, forgets the newest value when the producer ends before it was taken, since the end
of the connection takes its place.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from typing import Any

import zmq

from flame.control import InputEnd
from flame.edges import message
from flame.edges.message import Message, Record
from flame.edges.receiving import ReceivingEnd
from flame.limits import SLICE_MS


class NewestEnd(ReceivingEnd):
    """As `ReceivingEnd`; its thread ends when it is closed."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], end: InputEnd, *where: Any, **how: Any) -> None:
        super().__init__(context, end, *where, **how)
        self._newest: deque[Message] = deque(maxlen=end.depth)
        self._end_message: Message | None = None
        self._is_closing = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._wake_read, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name=f"newest of {end.input}", daemon=True)
        self._thread.start()

    @property
    def pollable(self) -> int:
        return self._wake_read

    def close(self, *, in_order: bool) -> None:
        self._is_closing = True
        self._thread.join()
        super().close(in_order=in_order)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _next(self, wait_s: float | None) -> Record | None:
        """Never by the short way to the socket: that is the thread's, and ZeroMQ lets no two use one."""
        return self._next_by(wait_s)

    def _receive(self, until: float | None) -> Message | None:
        arrived = self._pop()
        if arrived is None and (until is None or until > time.monotonic()):
            self._poll.poll(SLICE_MS if until is None else min(SLICE_MS, max(1.0, (until - time.monotonic()) * 1e3)))
            arrived = self._pop()
        return arrived

    def _pop(self) -> Message | None:
        """The pipe stays readable as long as something waits: `select` looks at it."""
        if not self._newest:
            with contextlib.suppress(BlockingIOError):  # before looking again: what comes now rings anew
                os.read(self._wake_read, 4_096)
        try:
            return self._newest.popleft()
        except IndexError:
            ending, self._end_message = self._end_message, None
            return ending

    def _run(self) -> None:
        while not self._is_closing:
            try:
                arrived = message.decode(self._socket.recv())
            except zmq.Again:
                continue
            if arrived.k == message.END:
                self._end_message = arrived
            else:
                self._newest.append(arrived)
                if len(self._newest) > 1:
                    continue  # it was told already that something waits
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake_write, b"\0")
