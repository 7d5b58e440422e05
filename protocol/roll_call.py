"""The roll call: a scheduler that knows only some of the members asks all of them who holds data of a project.

It is passed on from neighbour to neighbour, so it is signed by the caller and names the one who calls: nobody can make
the network greet somebody else.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from protocol.errors import Code, RemoteProtocolError
from protocol.ids import NODE_ID_BYTES
from protocol.key_statement import Certified, verify_key_statement
from protocol.limits import CLOCK_TOLERANCE_MS, PARTICIPANTS_MAX, ROLL_CALL_LIFE_MS, STATEMENT_BYTES_MAX
from protocol.record import Record
from protocol.signing import ROLL_CALL_STATEMENT, SigningKey, envelope_bytes, open_statement, sign_statement
from protocol.wire.codec import decode_record, encode_record

_NodeId = Annotated[bytes, msgspec.Meta(min_length=NODE_ID_BYTES, max_length=NODE_ID_BYTES)]


class RollCallStatement(Record, frozen=True):
    """`nodes`: those that are wanted; empty: every holder. `issued_ms` rises with every call of one caller."""

    version: Literal[1]
    project: bytes
    issued_ms: int
    nodes: Annotated[tuple[_NodeId, ...], msgspec.Meta(max_length=PARTICIPANTS_MAX)]
    statement: bytes  # key statement of the caller


class Call(Record, frozen=True):
    """A roll call whose signature holds, and who calls."""

    caller: Certified
    project: bytes
    issued_ms: int
    nodes: tuple[bytes, ...]

    def concerns(self, node: bytes) -> bool:
        return not self.nodes or node in self.nodes


def sign_roll_call(statement: RollCallStatement, key: SigningKey) -> bytes:
    return envelope_bytes(sign_statement(ROLL_CALL_STATEMENT, encode_record(statement), key))


def verify_roll_call(data: bytes, now_wall_ms: int) -> Call:
    """Raises RemoteProtocolError unless the caller itself signed it and it is not older than ROLL_CALL_LIFE_MS."""
    opened = open_statement(data, ROLL_CALL_STATEMENT)
    said = decode_record(opened.payload, RollCallStatement, bytes_max=STATEMENT_BYTES_MAX)
    caller = verify_key_statement(said.statement, now_wall_ms)
    if caller.node_key != opened.signer:
        raise RemoteProtocolError(Code.SENDER_WRONG, "a roll call that its caller did not sign")
    age_ms = now_wall_ms - said.issued_ms
    if not -CLOCK_TOLERANCE_MS <= age_ms <= ROLL_CALL_LIFE_MS + CLOCK_TOLERANCE_MS:
        raise RemoteProtocolError(Code.TIME_OUTSIDE, "a roll call of another time")
    return Call(caller=caller, project=said.project, issued_ms=said.issued_ms, nodes=said.nodes)
