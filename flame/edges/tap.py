"""The tap of a flame node: values of runtime outputs, which are nowhere but on their way, for whoever watches.

ZeroMQ tells an XPUB socket who subscribes to what, so that nothing is encoded or sent for an output nobody watches,
and a watcher that is killed leaves nothing behind. A watcher never holds a flame node up: one that is too slow misses
values, and sees it by their numbers. Each message is the name of the output with a zero byte, then a message as on an
edge (`flame.edges.message`). `flame.edges.live` is the watcher's end.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import zmq

from flame import values
from flame.edges import message
from flame.limits import LINK_LINGER_MS, TAP_QUEUE_MAX
from protocol.errors import WorkflowError

_IPC: Final = "ipc://"
_NAME_BYTES: Final = 5  # with its letter 11 characters: a socket's path has room for no more
STATUS: Final = "$beat"  # no output is called so: who subscribes to it gets the newest beat
Newest = Callable[[str], tuple[int, int, bytes | None]]  # of an output: number, time, value as bytes


def tap_address(sockets: Path, node: str) -> str:
    """Of the tap of the flame node `node`, in the folder of a run's sockets."""
    return f"{_IPC}{sockets}/t{hashlib.blake2s(node.encode(), digest_size=_NAME_BYTES).hexdigest()}"


class Tap:
    """The flame node's end. `offer` belongs to the program, `serve` and `close` to the thread of its link.

    A flame node whose tap cannot be bound runs on without one: watching is no reason to fail.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, node: str) -> None:
        """`endpoint`: the address of the executor, beside which the tap is bound."""
        self.wanted: frozenset[str] = frozenset()  # outputs that somebody watches
        self._newest: Newest = lambda output: (0, 0, None)
        self._status: Callable[[], bytes] | None = None
        self._offered: deque[tuple[str, bytes]] = deque(maxlen=TAP_QUEUE_MAX)
        self._wake: Callable[[], None] = lambda: None
        self.socket = context.socket(zmq.XPUB)
        self.socket.set(zmq.LINGER, LINK_LINGER_MS)
        self.socket.set(zmq.SNDHWM, TAP_QUEUE_MAX)
        self.socket.set(zmq.XPUB_VERBOSE, 1)  # each new watcher is told of, since each gets the newest value
        with contextlib.suppress(zmq.ZMQError):
            self.socket.bind(tap_address(Path(endpoint.removeprefix(_IPC)).parent, node))

    def wake_by(self, wake: Callable[[], None]) -> None:
        """`wake` makes the link's thread call `serve`."""
        self._wake = wake

    def shows(self, newest: Newest) -> None:
        """`newest` tells what a watcher that comes late sees at once. It may be called by any thread."""
        self._newest = newest

    def tells(self, status: Callable[[], bytes]) -> None:
        """`status` is what STATUS gives, encoded as a value. It is called by the thread of the link."""
        self._status = status

    def offer(self, output: str, seq: int, time_ns: int, value: Any) -> None:
        """For those who watch it. Never waits."""
        self._offered.append((output, message.encode(message.VALUE, seq, time_ns, values.encode(value))))
        self._wake()

    def serve(self) -> None:
        """Hear who watches, send what was offered."""
        while self.socket.poll(0):
            heard = self.socket.recv()
            name = heard[1:].removesuffix(b"\0").decode("ascii", "replace")
            if name == STATUS:
                self._send_status(told=heard[:1] == b"\x01")
            elif heard[:1] == b"\x01":
                self.wanted |= {name}
                self._send_newest(name)
            else:
                self.wanted -= {name}
        while self._offered:
            self._send(*self._offered.popleft())

    def _send_status(self, *, told: bool) -> None:
        if told and self._status is not None:
            self._send(STATUS, message.encode(message.VALUE, 1, time.time_ns(), self._status()))

    def _send_newest(self, output: str) -> None:
        """Not of an array that lies in shared memory: it may be gone before the watcher looks."""
        seq, time_ns, data = self._newest(output)
        if data is None:
            return
        with contextlib.suppress(WorkflowError):
            values.decode(data)
            self._send(output, message.encode(message.VALUE, seq, time_ns, data))

    def close(self) -> None:
        self.socket.close()

    def _send(self, output: str, frame: bytes) -> None:
        with contextlib.suppress(zmq.Again):
            self.socket.send_multipart((topic(output), frame), zmq.NOBLOCK)


def topic(output: str) -> bytes:
    """What a watcher subscribes to: ZeroMQ compares beginnings, hence the end of the name."""
    return output.encode("ascii") + b"\0"
