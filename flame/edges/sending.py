"""The producer's end of an edge: a PUSH socket that connects, and the four policies.

`block` waits until fewer than `depth` values are on their way; `spill` sends no value beyond `depth`, the consumer
reads it from the journal; `drop_new` leaves it out and counts it; `latest` sends every value, since the consumer's end
keeps the newest, and waits only for a consumer whose process stands still. The other sockets are never full: `depth`
bounds what waits in them.

An end belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import zmq

from flame.control import OutputEnd
from flame.edges.edge_page import DROPPED, ENDED, FINISHED, LOST, SENT, TAKEN, WAITS, Bell, EdgePage
from flame.library.stopping import StopFlag, Stopped
from flame.limits import EDGE_BYTES_MAX, EDGE_RECONNECT_MS, LARGE_BYTES, LATEST_FRAMES_MAX, SLICE_MS

_NOBLOCK: Final = int(zmq.NOBLOCK)  # an enum is turned into a number at each call


_Send = Callable[[bytes, int], object]


class SendingEnd:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], end: OutputEnd, stop: StopFlag) -> None:
        self.consumer: Final = end.consumer
        self.blocked = False
        self.ends: Final = end.ends
        self._stop = stop
        self._depth = end.depth
        self.page: Final = EdgePage(end.address)
        self._words = self.page.words
        self._words[FINISHED] = 0
        self._bell = Bell(end.address)
        self._large: deque[tuple[int, int]] = deque()  # (number, bytes) of large values on their way
        self._large_bytes = 0
        self._queued: deque[int] = deque()  # numbers in the queue of a drop_new edge
        self._policy = end.policy
        self._bounded = end.policy != "latest"
        self._socket = context.socket(zmq.PUSH)
        self._socket.set(zmq.RECONNECT_IVL, EDGE_RECONNECT_MS)
        self._socket.set(zmq.SNDHWM, 0 if self._bounded else LATEST_FRAMES_MAX)
        self._socket.connect(end.address)
        # Without zmq.Socket's own layer, which costs as much as the sending.
        self._send: Final = cast(_Send, super(zmq.Socket, self._socket).send)

    @property
    def sent(self) -> int:
        """Number of the newest value, of this or an earlier life of the producer."""
        return self._words[SENT]

    def announce(self, seq: int) -> None:
        """Values up to `seq` lie in the journal, although this life of the producer sent none of them."""
        self._words[SENT] = seq

    @property
    def takes(self) -> bool:
        """Whether the consumer is still there to take values."""
        return not self._words[ENDED]

    def released(self, seq: int) -> bool:
        """Whether value `seq` has left the queue, however it did."""
        return max(self._words[TAKEN], self._words[LOST]) >= seq or self._words[ENDED] != 0

    def send(self, seq: int, frame: bytes, weight: int) -> None:
        """`weight`: bytes of the value, wherever they lie. Raises Stopped when it has to wait and the run stops."""
        words = self._words
        if self._bounded and (seq - words[TAKEN] > self._depth or self._large) and not self._has_room(seq):
            if self._policy == "block":
                self._wait_for_room(seq)
            else:
                words[DROPPED] += self._policy == "drop_new"
                words[SENT] = seq
                return
        words[SENT] = seq
        if words[ENDED]:
            return
        if self._policy == "drop_new":
            self._queued.append(seq)
        if weight >= LARGE_BYTES and self._bounded:
            self._large.append((seq, weight))
            self._large_bytes += weight
        try:
            self._send(frame, _NOBLOCK)
        except zmq.Again:
            self._push_slowly(frame)

    def finish(self, frame: bytes) -> None:
        """Send the last frame, after which no value follows."""
        self._words[FINISHED] = 1
        if self.takes:
            with contextlib.suppress(Stopped):
                self._push_slowly(frame)

    def close(self, linger_ms: int = -1) -> None:
        """What was sent still goes out within `linger_ms`, -1 for as long as it takes."""
        self._socket.close(linger_ms)
        self._bell.close()

    def _push_slowly(self, frame: bytes) -> None:
        """Only the socket of a `latest` edge can be full, when the process of the consumer stands still."""
        self.blocked = True
        try:
            while not self._words[ENDED]:
                if self._socket.poll(SLICE_MS, zmq.POLLOUT):
                    with contextlib.suppress(zmq.Again):
                        self._send(frame, _NOBLOCK)
                        return
                self._stop.check()
        finally:
            self.blocked = False

    def _has_room(self, seq: int) -> bool:
        taken = self._words[TAKEN]
        large = self._large
        while large and large[0][0] <= taken:
            self._large_bytes -= large.popleft()[1]
        if self._large_bytes > EDGE_BYTES_MAX and self._policy != "drop_new":
            return False
        if self._policy != "drop_new":
            return seq - 1 - taken < self._depth
        queued = self._queued
        while queued and queued[0] <= taken:
            queued.popleft()
        return len(queued) < self._depth

    def _wait_for_room(self, seq: int) -> None:
        words = self._words
        self.blocked = True
        try:
            while not self._has_room(seq) and not words[ENDED]:
                self._stop.check()
                words[WAITS] = 1
                if not self._has_room(seq):  # it may have been taken before the consumer could see that we wait
                    self._bell.wait(SLICE_MS)
        finally:
            words[WAITS] = 0
            self.blocked = False
