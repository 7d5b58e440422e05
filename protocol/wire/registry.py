"""Every message of the peer wire: its number, record, cap, who may send it over which connection, whether it is
repeated.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from protocol.errors import Code, RemoteProtocolError
from protocol.limits import (
    BODY_BYTES_CONTROL_MAX,
    BODY_BYTES_DOOR_MAX,
    BODY_BYTES_MANIFEST_MAX,
    BODY_BYTES_PING_MAX,
    FRAME_TTL_MS,
    FRAME_TTL_MS_MAX,
)
from protocol.record import Record
from protocol.wire import door, jobs, peers
from protocol.wire.codec import decode_record, encode_record

# What a connection is, as the receiver of a frame sees it. A node knocks on and dials doors and knows peers and
# submitters; a submission tool only knows the scheduler that it dialled.
# Over "relayed" speaks one who is no peer yet and whom a peer passes on.
Connection = Literal["peer", "knocking", "submitter", "dialled", "scheduler", "relayed"]


class MessageType(Record, frozen=True):
    """`connections`: over which the message is admitted; `durable`: repeated until acknowledged, applied once."""

    number: int
    record: type[msgspec.Struct]
    body_bytes_max: int
    connections: frozenset[Connection]
    sender: str
    receiver: str
    durable: bool = False
    time_free: bool = False  # exempt from the time tolerance: it teaches the clock offset

    @property
    def ttl_ms(self) -> int:
        return FRAME_TTL_MS_MAX if self.durable else FRAME_TTL_MS


_PEER: Final[frozenset[Connection]] = frozenset({"peer"})
_PEER_ASKING: Final[frozenset[Connection]] = frozenset({"peer", "submitter"})
_PEER_ANSWERING: Final[frozenset[Connection]] = frozenset({"peer", "scheduler"})
_ASKING: Final[frozenset[Connection]] = frozenset({"submitter"})
_REFUSED: Final[frozenset[Connection]] = frozenset({"peer", "dialled", "scheduler", "relayed"})
_RELAYED: Final[frozenset[Connection]] = frozenset({"peer", "relayed"})
_KNOCKING: Final[frozenset[Connection]] = frozenset({"knocking"})
_DIALLED: Final[frozenset[Connection]] = frozenset({"dialled", "scheduler"})
_ANSWERING: Final[frozenset[Connection]] = frozenset({"scheduler"})

_DOOR, _CONTROL = BODY_BYTES_DOOR_MAX, BODY_BYTES_CONTROL_MAX
_MANIFEST, _PING = BODY_BYTES_MANIFEST_MAX, BODY_BYTES_PING_MAX


def _type(
    number: int,
    record: type[msgspec.Struct],
    cap: int,
    connections: frozenset[Connection],
    way: str,
    *,
    durable: bool = False,
    time_free: bool = False,
) -> MessageType:
    sender, _, receiver = way.partition(" > ")
    return MessageType(
        number=number,
        record=record,
        body_bytes_max=cap,
        connections=connections,
        sender=sender,
        receiver=receiver,
        durable=durable,
        time_free=time_free,
    )


# A number is never reused. `sender > receiver` are names of machines; protocol/wiring.py routes by them.
MESSAGES: Final[tuple[MessageType, ...]] = (
    _type(1, door.Hello, _DOOR, _KNOCKING, "enrolment > enrolment", time_free=True),
    _type(2, door.Challenge, _DOOR, _DIALLED, "enrolment > enrolment", time_free=True),
    _type(3, door.Proof, _DOOR, _KNOCKING, "enrolment > enrolment", time_free=True),
    _type(4, door.Welcome, _DOOR, _DIALLED, "enrolment > enrolment", time_free=True),
    _type(5, peers.Refused, _DOOR, _REFUSED, "gate > gate", time_free=True),
    _type(6, door.Credential, _DOOR, _RELAYED, "enrolment > enrolment", time_free=True),
    _type(7, door.Granted, _DOOR, _ANSWERING, "enrolment > submitter", time_free=True),
    _type(10, peers.Greeting, _CONTROL, _PEER, "membership > membership", time_free=True),
    _type(11, peers.Heartbeat, _PING, _PEER, "membership > membership"),
    _type(12, peers.Acknowledge, _PING, _PEER, "delivery > delivery"),
    _type(13, peers.RollCall, _CONTROL, _PEER, "membership > membership"),
    _type(14, peers.Poll, _PING, _PEER, "poller > scheduler"),
    _type(15, peers.Polled, _PING, _PEER, "scheduler > poller"),
    _type(16, peers.Farewell, _PING, _PEER, "membership > membership"),
    _type(20, jobs.Submit, _MANIFEST, _ASKING, "submitter > scheduler"),
    _type(21, jobs.AskJob, _PING, _ASKING, "submitter > scheduler"),
    _type(22, jobs.AskResult, _PING, _ASKING, "submitter > scheduler"),
    _type(23, jobs.AskCancel, _DOOR, _ASKING, "submitter > scheduler"),
    _type(24, jobs.AskJobs, _PING, _ASKING, "submitter > scheduler"),
    _type(25, jobs.AskResultChunk, _PING, _ASKING, "submitter > scheduler"),
    _type(26, jobs.AskRemove, _PING, _ASKING, "submitter > scheduler"),
    _type(27, jobs.AskRemoveEnded, _PING, _ASKING, "submitter > scheduler"),
    _type(30, jobs.JobStatus, _MANIFEST, _ANSWERING, "scheduler > submitter"),
    _type(31, jobs.JobResult, _MANIFEST, _ANSWERING, "scheduler > submitter"),
    _type(32, jobs.JobList, _MANIFEST, _ANSWERING, "scheduler > submitter"),
    _type(33, jobs.ResultChunk, 2 * _MANIFEST, _ANSWERING, "scheduler > submitter"),
    _type(34, jobs.JobRemoved, _PING, _ANSWERING, "scheduler > submitter"),
    _type(35, jobs.JobsRemoved, _DOOR, _ANSWERING, "scheduler > submitter"),
    _type(40, jobs.Tasks, 4 * _MANIFEST, _PEER, "scheduler > worker", durable=True),
    _type(41, jobs.Renewed, _PING, _PEER, "scheduler > worker"),
    _type(42, jobs.Stop, _DOOR, _PEER, "scheduler > worker", durable=True),
    _type(50, jobs.Results, 4 * _MANIFEST, _PEER, "worker > scheduler", durable=True),
    _type(51, jobs.Renew, _CONTROL, _PEER, "worker > scheduler"),
    _type(52, jobs.AskChunk, _PING, _PEER, "worker > worker"),
    _type(53, jobs.Chunk, 2 * _MANIFEST, _PEER, "worker > worker"),
    _type(60, peers.AskSources, _PING, _ASKING, "submitter > catalogue"),
    _type(61, peers.SourceList, _MANIFEST, _ANSWERING, "catalogue > submitter"),
    _type(62, peers.AskSchema, _PING, _PEER_ASKING, "catalogue > catalogue"),
    _type(63, peers.Schema, _MANIFEST, _PEER_ANSWERING, "catalogue > catalogue"),
)
BY_NUMBER: Final = {entry.number: entry for entry in MESSAGES}
BY_RECORD: Final = {entry.record: entry for entry in MESSAGES}
TIME_FREE: Final = frozenset(entry.number for entry in MESSAGES if entry.time_free)


def allowed_over(connection: Connection) -> dict[int, int]:
    """Message numbers that this kind of connection may bring, each with its cap in bytes."""
    return {entry.number: entry.body_bytes_max for entry in MESSAGES if connection in entry.connections}


def type_of(message: Any) -> MessageType:
    return BY_RECORD[type(message)]


def encode_message(message: Any) -> tuple[int, bytes]:
    """(number, body). Our own message beyond its cap is refused here, before it reaches the wire."""
    entry = type_of(message)
    body = encode_record(message)
    if len(body) > entry.body_bytes_max:
        raise RemoteProtocolError(
            Code.FRAME_TOO_LARGE,
            f"{entry.record.__name__} has {len(body)} bytes, at most {entry.body_bytes_max} are sent",
        )
    return entry.number, body


def decode_message(number: int, body: bytes) -> Any:
    """The record of a verified body. Raises RemoteProtocolError(TYPE_UNKNOWN | BODY_MALFORMED)."""
    entry = BY_NUMBER.get(number)
    if entry is None:
        raise RemoteProtocolError(Code.TYPE_UNKNOWN, f"unknown message type {number}")
    return decode_record(body, entry.record, bytes_max=entry.body_bytes_max)
