"""Messages on the stream between a node and a child process: a length (u32, big-endian), then so many bytes.

A message has 1 to `CHILD_MESSAGE_BYTES_MAX` bytes. Standard library only: children import it first of all.
"""

from __future__ import annotations

import struct

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import CHILD_MESSAGE_BYTES_MAX

_LENGTH = struct.Struct("!I")


def to_frame(message: bytes) -> bytes:
    """The bytes that go on the stream. Outside the limits: LocalProtocolError, the caller's bug."""
    if not 1 <= len(message) <= CHILD_MESSAGE_BYTES_MAX:
        raise LocalProtocolError(
            f"A message of a child has 1 to {CHILD_MESSAGE_BYTES_MAX} bytes; this one has {len(message)}."
        )
    return _LENGTH.pack(len(message)) + message


class Unframer:
    """Turns a stream back into messages: `push` what arrived, then `pop` until None.

    Holds at most one whole message and what was pushed beyond it. Used from one thread.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def torn(self) -> bool:
        """True when a message has begun and not ended: at the end of the stream it is lost."""
        return bool(self._buffer)

    def push(self, data: bytes) -> None:
        self._buffer += data

    def pop(self) -> bytes | None:
        """The next whole message, or None. RemoteProtocolError (malformed, too large): the stream is lost."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length == 0:
            raise RemoteProtocolError(Code.FRAME_MALFORMED, "A frame of no bytes.")
        if length > CHILD_MESSAGE_BYTES_MAX:
            raise RemoteProtocolError(
                Code.FRAME_TOO_LARGE,
                f"A frame of {length} bytes; at most {CHILD_MESSAGE_BYTES_MAX} are allowed.",
            )
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        message = bytes(memoryview(self._buffer)[_LENGTH.size : end])
        del self._buffer[:end]
        return message
