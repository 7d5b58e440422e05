"""Relayed frames: what is meant for a client, and what a client says to others, travels through its scheduler.

    FLR1 ‖ way (1 byte) ‖ id of the other node (32 bytes) ‖ sealed frame

On the way in (`TO`) the sender asks the receiver to pass the sealed frame on to that node; on the way out (`FROM`) the
receiver gets what that node has sealed for it. The frame inside is an ordinary signed frame: who passes it on sees ids
and sizes. This head has no signature of its own: CURVE proves the hop, and the frame inside proves its sender.
"""

from __future__ import annotations

from typing import Final

from protocol.errors import Code, RemoteProtocolError
from protocol.ids import NODE_ID_BYTES
from protocol.record import Record

MAGIC: Final = b"FLR1"
TO: Final = 1
FROM: Final = 2
_HEAD_BYTES: Final = len(MAGIC) + 1 + NODE_ID_BYTES


class Relayed(Record, frozen=True):
    """`node`: to whom, or from whom, as `way` says. `sealed`: for the final receiver alone."""

    way: int
    node: bytes
    sealed: bytes


def is_relayed(raw: bytes) -> bool:
    return raw.startswith(MAGIC)


def is_passed_on(raw: bytes) -> bool:
    """Whether it was another node's before this one sends it on."""
    return raw.startswith(MAGIC + bytes((FROM,)))


def pack_relayed(relayed: Relayed) -> bytes:
    return b"".join((MAGIC, bytes((relayed.way,)), relayed.node, relayed.sealed))


def parse_relayed(raw: bytes) -> Relayed:
    """Raises RemoteProtocolError(FRAME_MALFORMED)."""
    if len(raw) <= _HEAD_BYTES or not is_relayed(raw) or raw[len(MAGIC)] not in (TO, FROM):
        raise RemoteProtocolError(Code.FRAME_MALFORMED, "a relayed frame whose head does not read")
    return Relayed(way=raw[len(MAGIC)], node=raw[len(MAGIC) + 1 : _HEAD_BYTES], sealed=raw[_HEAD_BYTES:])


def sealing_info(sender: bytes, receiver: bytes) -> bytes:
    """What a seal is bound to (the `info` of HPKE, RFC 9180): who sealed it, and for whom."""
    return b"flotta-p2p/relay/v1\0" + sender + receiver
