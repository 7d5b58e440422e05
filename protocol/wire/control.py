"""Messages of the control socket: between the command line and the node of the same machine and user.

A frame is `u32 length ‖ u16 number ‖ msgpack body`, big-endian. One request at a time; each gets one answer. The
messages about jobs and sources are those of the peer wire; here stand the others.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgspec

from protocol.errors import Code, RemoteProtocolError
from protocol.limits import CONTROL_BYTES_MAX
from protocol.record import Record
from protocol.wire import jobs, peers
from protocol.wire.codec import decode_record, encode_record

HEAD: Final = struct.Struct(">IH")


class AskStatus(Record, frozen=True):
    """How the node is: answered by Report."""


class AskPeers(Record, frozen=True):
    """Peers, strangers and joins: answered by Report."""


class AskProof(Record, frozen=True):
    """The membership proof for an order that the operator has just signed."""

    project: bytes
    job_id: bytes
    submitter_key: bytes


class ProofGiven(Record, frozen=True):
    proof: bytes


class WaitJob(Record, frozen=True):
    """Answered by JobStatus as soon as state or progress differ from what the asker knows, at the latest after
    `wait_ms`.
    """

    job_id: bytes
    known_state: str
    known_done: int
    wait_ms: int


class ReloadProjects(Record, frozen=True):
    """What the work directory holds of projects and joining has changed: answered by Report."""


class Invite(Record, frozen=True):
    """An invitation into this project: answered by Invited. The same `nonce` again is the same invitation."""

    project: bytes
    name: str  # the inviter's name of the project
    valid_ms: int
    nonce: bytes


class Invited(Record, frozen=True):
    """`text` is what the invited node's operator needs. The repr hides it."""

    invitation: bytes
    text: str
    expires_ms: int
    addresses: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Invited(invitation={self.invitation!r}, text=***)"


class AskInvitations(Record, frozen=True):
    """Those that the node remembers: answered by Report."""


class RevokeInvitation(Record, frozen=True):
    """Answered by Report."""

    invitation: bytes


class BanPeer(Record, frozen=True):
    """Keep a node out, whatever it proves: answered by Report."""

    node: bytes
    reason: str = ""


class AcceptPeer(Record, frozen=True):
    """Let a node in that proves a common token, and lift its ban if it has one: answered by Report."""

    node: bytes


class TakeRun(Record, frozen=True):
    """Execute the run of flame in this folder; its document is on the disk, and nobody holds its lock. Answered by
    RunTaken once the node holds it. `parameters`: the parameters file that was named, "" for none.
    """

    run: str  # text of its id
    alias: str
    folder: str
    python: str  # the interpreter that is to run its flame nodes
    parameters: str = ""


class RunTaken(Record, frozen=True):
    run: str


class StopRun(Record, frozen=True):
    """Stop this run in order, or take it up no more: answered by RunStopping at once."""

    run: str


class RunStopping(Record, frozen=True):
    """`state`: where it stood."""

    run: str
    state: str


class Report(Record, frozen=True):
    """Plain values for people and for --json."""

    values: dict[str, Any]


_RECORDS: Final[dict[int, type[msgspec.Struct]]] = {
    5: peers.Refused,
    20: jobs.Submit,
    21: jobs.AskJob,
    22: jobs.AskResult,
    23: jobs.AskCancel,
    24: jobs.AskJobs,
    25: jobs.AskResultChunk,
    26: jobs.AskRemove,
    27: jobs.AskRemoveEnded,
    30: jobs.JobStatus,
    31: jobs.JobResult,
    32: jobs.JobList,
    33: jobs.ResultChunk,
    34: jobs.JobRemoved,
    35: jobs.JobsRemoved,
    60: peers.AskSources,
    61: peers.SourceList,
    62: peers.AskSchema,
    63: peers.Schema,
    100: AskStatus,
    101: AskPeers,
    102: AskProof,
    103: ProofGiven,
    104: WaitJob,
    105: ReloadProjects,
    106: Report,
    107: Invite,
    108: Invited,
    109: AskInvitations,
    110: RevokeInvitation,
    111: BanPeer,
    112: AcceptPeer,
    113: TakeRun,
    114: RunTaken,
    115: StopRun,
    116: RunStopping,
}
_NUMBERS: Final = {record: number for number, record in _RECORDS.items()}


def encode_control(message: Any) -> bytes:
    """The whole frame."""
    body = encode_record(message)
    if len(body) > CONTROL_BYTES_MAX:
        raise RemoteProtocolError(
            Code.FRAME_TOO_LARGE, f"an answer of {len(body)} bytes is too large for the control socket"
        )
    return HEAD.pack(len(body), _NUMBERS[type(message)]) + body


def body_length(head: bytes) -> tuple[int, int]:
    """(length, number) of a frame's six head bytes. Raises RemoteProtocolError(FRAME_TOO_LARGE)."""
    length, number = HEAD.unpack(head)
    if length > CONTROL_BYTES_MAX:
        raise RemoteProtocolError(Code.FRAME_TOO_LARGE, f"a control frame has at most {CONTROL_BYTES_MAX} bytes")
    return length, number


def decode_control(number: int, body: bytes) -> Any:
    """Raises RemoteProtocolError."""
    record = _RECORDS.get(number)
    if record is None:
        raise RemoteProtocolError(Code.TYPE_UNKNOWN, f"unknown control message {number}; are both of the same version?")
    return decode_record(body, record, bytes_max=CONTROL_BYTES_MAX)
