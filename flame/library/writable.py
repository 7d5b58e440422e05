"""An input without an edge that may be written while the run goes on: a state, which changes with each write."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import Any

from flame.control import InputCount, WriteStamp, Written
from flame.edges.message import Record
from flame.library.reading import reading
from flame.library.stopping import StopFlag, Stopped
from flame.limits import SLICE_MS
from flame.ports import InputPort
from flame.types import portable


class WritableInput:
    """At first the parameter, or what was written before this start; then each newest value once.

    `write` is called by the thread of the link, the rest by one thread at a time.
    """

    def __init__(self, port: InputPort, value: Any, stamp: WriteStamp, stop: StopFlag) -> None:
        """`stamp`: of `value`, where it was written and is not the parameter."""
        self._reading = reading(port)
        self._stop = stop
        self._lock = threading.Lock()
        self._fresh: Record | Written | None = Record(value, stamp.time_ns or time.time_ns(), stamp.seq)
        self.seq = stamp.seq  # of the newest that has arrived
        self._is_closed = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._wake_read, select.POLLIN)

    def write(self, written: Written) -> None:
        """One that is not newer than what is there says nothing new."""
        with self._lock:
            if written.seq > self.seq and not self._is_closed:
                self.seq, self._fresh = written.seq, written
                with contextlib.suppress(BlockingIOError):  # full: whoever waits is awake already
                    os.write(self._wake_write, b"\0")

    def close(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._wake_read)
                os.close(self._wake_write)

    def take(self, wait_s: float | None) -> Record | None:
        """The newest value that was not taken; None when there is none within `wait_s`. Raises Stopped when the run
        stops, and when the flame node has ended.
        """
        until = None if wait_s is None else time.monotonic() + wait_s
        while (record := self.newest()) is None:
            self._stop.check()
            if self._is_closed:
                raise Stopped("the flame node has ended")
            left_s = SLICE_MS / 1e3 if until is None else min(SLICE_MS / 1e3, until - time.monotonic())
            if left_s <= 0:
                return None
            self._poll.poll(max(1.0, left_s * 1e3))
        return record

    def newest(self) -> Record | None:
        with self._lock:
            fresh, self._fresh = self._fresh, None
            if not self._is_closed:
                with contextlib.suppress(BlockingIOError):  # readable as long as something waits
                    os.read(self._wake_read, 4_096)
        if isinstance(fresh, Written):
            value = portable.load(fresh.value)
            return Record(value if self._reading is None else self._reading(value), fresh.time_ns, fresh.seq)
        return fresh

    def peek(self) -> bool:
        return self._fresh is not None

    @property
    def is_ended(self) -> bool:
        """Somebody may write as long as the run goes on."""
        return self._stop.is_set

    @property
    def pollable(self) -> int:
        return self._wake_read

    @property
    def count(self) -> InputCount:
        return InputCount()
