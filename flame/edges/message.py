"""What travels on an edge: one ZeroMQ frame for each message, a MessagePack map with short keys.

    key  value
    k    kind: "v" a value; "j" a value that lies in the producer's journal under this number; "e" no value will follow
    n    number of the value in its output, from 1, without gaps; of the last value for "e"
    t    time of the value, ns since 1970 UTC
    v    the value (`flame.values`), for "v" alone

Unknown keys are passed over, and so is a message of an unknown kind. An array of at least ARRAY_INLINE_BYTES_MAX may be
a reference into shared memory (`flame.edges.shared_arrays`).
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

VALUE: Final = "v"
IN_JOURNAL: Final = "j"
END: Final = "e"

_NONE: Final = msgspec.Raw(b"\xc0")


class Message(msgspec.Struct, omit_defaults=True, gc=False):
    """One message. `v` holds the bytes of the value, not yet read."""

    k: str
    n: int
    t: int = 0
    v: msgspec.Raw = _NONE


class Record(msgspec.Struct, frozen=True, gc=False):
    """One value that arrived. `time`: ns since 1970 UTC, set by the producer. `seq`: its number in the output, from 1;
    0 for a parameter.
    """

    value: Any
    time: int
    seq: int


# A value's frame is written by hand: packing costs a third of what the encoder takes, at every hop of every value.
_VALUE_HEAD: Final = struct.Struct(">8sQ3sQ2s")
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Message)


def encode_value(seq: int, time_ns: int, value: bytes) -> bytes:
    return _VALUE_HEAD.pack(b"\x84\xa1k\xa1v\xa1n\xcf", seq, b"\xa1t\xcf", time_ns, b"\xa1v") + value


def encode(kind: str, seq: int, time_ns: int = 0, value: bytes | None = None) -> bytes:
    return _encoder.encode(Message(kind, seq, time_ns, _NONE if value is None else msgspec.Raw(value)))


decode: Final = _decoder.decode  # raises msgspec.DecodeError for what is no message
