"""As much of ZMTP 3.1 (RFC 37 of ZeroMQ) as shows what answers at a port, and how far a handshake of CURVE gets.

The transport itself is libzmq's; this reads along, for `doctor`.
"""

from __future__ import annotations

from typing import Final

from protocol.limits import ZMTP_COMMAND_BYTES_MAX
from protocol.record import Record

GREETING_BYTES: Final = 64
_SIGNATURE: Final = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"
_VERSION: Final = b"\x03\x01"
_MECHANISM_BYTES: Final = 20
_COMMAND: Final = 0x04  # flags of a frame
_LONG: Final = 0x02


class SocketGreeting(Record, frozen=True):
    """What a ZeroMQ socket says first. libzmq leaves open whether it is the server."""

    major: int
    mechanism: str


def client_greeting() -> bytes:
    """That of a client which wants CURVE."""
    return (_SIGNATURE + _VERSION + b"CURVE".ljust(_MECHANISM_BYTES, b"\0")).ljust(GREETING_BYTES, b"\0")


def read_socket_greeting(data: bytes) -> SocketGreeting | None:
    """None when `data` is not, or not the whole of, a greeting of ZMTP 3."""
    if len(data) < GREETING_BYTES or data[0] != 0xFF or data[9] != 0x7F or data[10] < 3:
        return None
    name = data[12 : 12 + _MECHANISM_BYTES].rstrip(b"\0")
    return SocketGreeting(major=data[10], mechanism=name.decode("ascii", "replace"))


class CommandReader:
    """Names of the commands in one direction of a connection, as they pass by. What is no ZMTP gives none."""

    def __init__(self) -> None:
        self._data = b""  # limits.ZMTP_COMMAND_BYTES_MAX
        self._greeted = False
        self._lost = False  # what came makes no sense, or is longer than a handshake

    def feed(self, data: bytes) -> list[str]:
        if self._lost:
            return []
        self._data += data
        names = []
        if not self._greeted and len(self._data) >= GREETING_BYTES:
            self._data = self._data[GREETING_BYTES:]
            self._greeted = True
        while self._greeted and (name := self._next()) is not None:
            names.append(name)
        if len(self._data) > ZMTP_COMMAND_BYTES_MAX:
            self._lost, self._data = True, b""
        return names

    def _next(self) -> str | None:
        """Takes one whole frame. A frame that is no command has the name ""."""
        if len(self._data) < 2:
            return None
        flags = self._data[0]
        at = 9 if flags & _LONG else 2
        if len(self._data) < at:
            return None
        length = int.from_bytes(self._data[1:at])
        if len(self._data) < at + length:
            return None
        body, self._data = self._data[at : at + length], self._data[at + length :]
        if not flags & _COMMAND or not body:
            return ""
        return body[1 : 1 + body[0]].decode("ascii", "replace")
