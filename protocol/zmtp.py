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
        at = 0
        if not self._greeted and len(self._data) >= GREETING_BYTES:
            at, self._greeted = GREETING_BYTES, True
        names = []
        while self._greeted and (frame := _frame(self._data, at)) is not None:
            name, at = frame
            names.append(name)
        self._data = self._data[at:]  # once: a frame may have two bytes only, and a piece be full of them
        if len(self._data) > ZMTP_COMMAND_BYTES_MAX:
            self._lost, self._data = True, b""
        return names


def _frame(data: bytes, at: int) -> tuple[str, int] | None:
    """(name of the command, "" for a frame that is none; where it ends) of the whole frame there, if there is one."""
    if len(data) < at + 2:
        return None
    flags = data[at]
    start = at + (9 if flags & _LONG else 2)
    if len(data) < start:
        return None
    end = start + int.from_bytes(data[at + 1 : start])
    if len(data) < end:
        return None
    if not flags & _COMMAND or start == end:
        return "", end
    return data[start + 1 : min(end, start + 1 + data[start])].decode("ascii", "replace"), end
