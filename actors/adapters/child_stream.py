"""The node's end of one child's channel: messages in, frames out, never waiting.

Used by the spawner's thread alone.
"""

from __future__ import annotations

import selectors
import socket
from collections import deque

from actors.children import EndReason, OnReady
from actors.framing import Unframer
from protocol.errors import RemoteProtocolError
from protocol.limits import KIB

_READ_BYTES = 256 * KIB


class ChildStream:
    """`on_ready` is what the selector holds for the socket.

    Frames may be queued before `open`; the caller limits how many (CHILD_OUTBOX_BYTES_MAX).
    `fault` says, once the stream has closed itself, why nothing more that the child says is believed.
    """

    def __init__(self, selector: selectors.BaseSelector, on_ready: OnReady) -> None:
        self.fault: str | None = None
        self._selector = selector
        self._on_ready = on_ready
        self._socket: socket.socket | None = None
        self._unframer = Unframer()
        self._outbox: deque[tuple[memoryview, int]] = deque()  # what is still to write of a frame, and its cost

    def is_open(self) -> bool:
        return self._socket is not None

    def open(self, channel: socket.socket) -> None:
        """Takes over a non-blocking socket."""
        self._socket = channel
        self._selector.register(channel, selectors.EVENT_READ, self._on_ready)

    def close(self) -> None:
        """Drops what was not written. May be called again."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
        self._outbox.clear()

    def queue(self, frame: bytes, cost: int) -> None:
        self._outbox.append((memoryview(frame), cost))

    def write(self) -> int:
        """Write what the child takes now. Returns the cost of the frames that are done."""
        if self._socket is None:
            return 0
        done = 0
        try:
            while self._outbox:
                rest, cost = self._outbox[0]
                sent = self._socket.send(rest)
                self._outbox[0] = rest[sent:], cost
                if sent == len(rest):
                    self._outbox.popleft()
                    done += cost
        except BlockingIOError:
            pass
        except OSError:
            self._outbox.clear()  # it does not read any more: the end of the stream follows
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        self._selector.modify(self._socket, wanted, self._on_ready)
        return done

    def read(self) -> list[bytes] | None:
        """The messages that one read completes; None: nothing more for now. Closes itself at the end."""
        if self._socket is None:
            return None
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""  # the child ended without reading all that it was sent
        if not data:
            self.fault = EndReason.FRAME_MALFORMED if self._unframer.torn else None
            self.close()
            return None
        self._unframer.push(data)
        return self._whole_messages()

    def _whole_messages(self) -> list[bytes]:
        messages = []
        try:
            while (message := self._unframer.pop()) is not None:
                messages.append(message)
        except RemoteProtocolError as error:
            self.fault = error.code
            self.close()
        return messages
