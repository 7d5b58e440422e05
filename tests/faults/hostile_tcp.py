"""Hostile clients without any library: raw TCP and AF_UNIX connections, many at once, from one thread.

Bounded by count and by time; everything goes to loopback or to a socket of this machine.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from actors.adapters.statements import QUESTION
from protocol.record import Record
from protocol.wire.control import HEAD

DRIP_S: Final = 0.1  # between two bytes of a slow client
GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + b"\0" + bytes(31)  # ZMTP 3.0


class Shape(Record, frozen=True):
    """What one client does: sends `opening`, then `drip` byte by byte; `stays` until it is hung up on, or goes."""

    name: str
    opening: bytes = b""
    drip: bytes = b""
    stays: bool = True


def noise(size: int) -> bytes:
    return Random(size).randbytes(size)  # the same in every run


def greeting(mechanism: bytes) -> bytes:
    return GREETING.replace(b"CURVE", mechanism.ljust(5, b"\0"))


def long_frame(size: int, flags: int = 0x02) -> bytes:
    """The head of a ZMTP frame (0x02) or command (0x06) of so many bytes, and the first of them."""
    return bytes([flags]) + size.to_bytes(8) + noise(512)


CURVE_HELLO: Final = b"\x04\xc8\x05HELLO\x01\x00" + bytes(72) + noise(120)  # of the right length, box forged
MAIN_SHAPES: Final = (
    Shape(name="silent"),
    Shape(name="gone at once", stays=False),
    Shape(name="random", opening=noise(4_096)),
    Shape(name="http", opening=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    Shape(name="half a greeting", opening=GREETING[:20]),
    Shape(name="greeting, then silence", opening=GREETING),
    Shape(name="greeting, then garbage", opening=GREETING + noise(2_048)),
    Shape(name="slow", drip=GREETING + CURVE_HELLO),
    Shape(name="frame of 2^63 bytes", opening=GREETING + long_frame(2**63 - 1)),
    Shape(name="frame of 600 MiB", opening=GREETING + long_frame(600 * 2**20)),
    Shape(name="command of 600 MiB", opening=GREETING + long_frame(600 * 2**20, 0x06)),
    Shape(name="NULL", opening=greeting(b"NULL") + b"\x04\x19\x05READY" + bytes(18)),
    Shape(name="PLAIN", opening=greeting(b"PLAIN") + b"\x04\x12\x05HELLO\x05admin\x05admin"),
    Shape(name="forged CURVE hello", opening=GREETING + CURVE_HELLO),
    Shape(name="old ZMTP 1.0", opening=b"\x01\x00" + b"\x05\x00abcd" * 64),
)
STATEMENT_SHAPES: Final = (
    Shape(name="silent"),
    Shape(name="gone at once", stays=False),
    Shape(name="random", opening=noise(1_024)),
    Shape(name="line without end", opening=b"x" * 65_536),
    Shape(name="slow", drip=QUESTION),
    Shape(name="asks and asks", opening=QUESTION * 50),
    Shape(name="asks", opening=QUESTION, stays=False),
)
CONTROL_SHAPES: Final = (
    Shape(name="silent"),
    Shape(name="gone at once", stays=False),
    Shape(name="random", opening=noise(4_096)),
    Shape(name="half a head", opening=HEAD.pack(16, 1)[:3]),
    Shape(name="body of 4 GiB", opening=HEAD.pack(2**32 - 1, 1) + noise(64)),
    Shape(name="announces and stops", opening=HEAD.pack(1_000_000, 1) + noise(512)),
    Shape(name="unknown number", opening=HEAD.pack(1, 60_000) + b"\x80"),
    Shape(name="no msgpack", opening=HEAD.pack(64, 1) + b"\xc1" * 64),
    Shape(name="slow", drip=HEAD.pack(64, 1) + b"\x80" * 64),
)


@dataclass
class Swarm:
    """Clients of these shapes, in turn, towards one `address`: `total` in all, at most `at_once` open.

    `step` does what can be done now and never waits; `close` hangs up on everybody.
    """

    address: tuple[str, int] | Path
    shapes: tuple[Shape, ...]
    total: int
    at_once: int
    opened: int = 0
    hung_up_on: int = 0  # by the node
    refused: int = 0  # no connection was made
    most_open: int = 0
    _open: dict[socket.socket, tuple[Shape, int]] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _dripped_s: float = 0.0

    @property
    def over(self) -> bool:
        """All have come, and those that stay have been hung up on."""
        return self.opened + self.refused >= self.total and not self._open

    def step(self) -> None:
        for _ in range(256):
            if len(self._open) >= self.at_once or self.opened + self.refused >= self.total:
                break
            self._connect(self.shapes[(self.opened + self.refused) % len(self.shapes)])
        for key, mask in self._selector.select(0):
            self._serve(key.fileobj, mask)  # type: ignore[arg-type]
        if time.monotonic() - self._dripped_s >= DRIP_S:
            self._dripped_s = time.monotonic()
            for sock, (shape, sent) in list(self._open.items()):
                if shape.drip:
                    self._drip(sock, shape, sent)

    def close(self) -> None:
        for sock in list(self._open):
            self._drop(sock)
        self._selector.close()

    def _connect(self, shape: Shape) -> None:
        unix = isinstance(self.address, Path)
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        result = sock.connect_ex(str(self.address) if isinstance(self.address, Path) else self.address)
        if result not in ((0,) if unix else (0, errno.EINPROGRESS)):
            self.refused += 1
            sock.close()
            return
        self.opened += 1
        self._open[sock] = (shape, 0)
        self.most_open = max(self.most_open, len(self._open))
        self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _serve(self, sock: socket.socket, mask: int) -> None:
        shape, _ = self._open[sock]
        try:
            if mask & selectors.EVENT_WRITE:
                if shape.opening:
                    sock.send(shape.opening)
                if not shape.stays:
                    self._drop(sock)
                    return
                self._selector.modify(sock, selectors.EVENT_READ)
            if mask & selectors.EVENT_READ and not sock.recv(65_536):
                self._hung_up(sock)
        except BlockingIOError:
            pass
        except OSError:
            self._hung_up(sock)

    def _drip(self, sock: socket.socket, shape: Shape, sent: int) -> None:
        try:
            self._open[sock] = (shape, sent + sock.send(shape.drip[sent : sent + 1]))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # not connected yet
                self._hung_up(sock)

    def _hung_up(self, sock: socket.socket) -> None:
        self.hung_up_on += 1
        self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        del self._open[sock]
        self._selector.unregister(sock)
        sock.close()


def let_loose(swarms: list[Swarm], limit_s: float) -> Iterator[None]:
    """Runs the swarms until all are over or the limit has passed; yields about ten times a second."""
    deadline_s = time.monotonic() + limit_s
    told_s = 0.0
    try:
        while time.monotonic() < deadline_s and not all(swarm.over for swarm in swarms):
            for swarm in swarms:
                swarm.step()
            if time.monotonic() - told_s > 0.1:
                told_s = time.monotonic()
                yield
            time.sleep(0.002)
    finally:
        for swarm in swarms:
            swarm.close()
