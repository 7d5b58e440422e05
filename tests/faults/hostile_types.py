"""Type confusion: everything that is signed, offered as everything else. The cells come from the registries, so that a
new type cannot be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, get_args

from protocol import signing
from protocol.errors import FlottaError
from protocol.ids import node_id
from protocol.key_statement import verify_key_statement
from protocol.limits import STATEMENT_BYTES_MAX
from protocol.machines.contract import Received
from protocol.machines.events import Arrived, DialDoor, PeerAdmitted
from protocol.machines.gate import Gate
from protocol.plan.order import SignedOrder, job_id_of, verify_cancel, verify_order
from protocol.plan.plan import Outcome, Participant, Plan, sign_outcome, sign_plan, verify_outcome, verify_plan
from protocol.roll_call import RollCallStatement, sign_roll_call, verify_roll_call
from protocol.signing import Envelope, SigningKey, envelope_bytes, sign_statement
from protocol.wire.codec import decode_record
from protocol.wire.frame import BODY_OFFSET, HEADER_BYTES, _signed_bytes
from protocol.wire.registry import MESSAGES, Connection
from tests.faults.outcome import Found
from tests.protocol.builders import PROJECT, SUBMITTER, WALL_MS, cancel_of, news, node_key, now, signed, statement
from tests.protocol.machines.test_gate import EXAMPLES, GREETING, KEY, OWN, PEER, PEER_KEY, frame, new_gate, over
from tests.protocol.test_signing import FIELD, _encodings, _small_order_points

TYPES: Final = tuple(value for name, value in vars(signing).items() if name.endswith("_STATEMENT"))
NODE: Final = node_key(2)
HOP_KEY: Final = node_key(77)
HOP: Final = node_id(HOP_KEY.public_key)
SIGNED_ORDER, JOB = signed()
PLAN: Final = Plan(version=1, job_id=JOB, epoch=1, participants=(Participant(node=OWN, source="s"),))
OUTCOME: Final = Outcome(version=1, job_id=JOB, index=0, attempt=1, epoch=1, state="succeeded", inputs=())
CALL: Final = RollCallStatement(
    version=1, project=PROJECT.project_id, issued_ms=WALL_MS, nodes=(), statement=statement(NODE).data
)
IDENTITY_SIGNATURE: Final = (1).to_bytes(32, "little") + bytes(32)  # verifies anything under a key of small order

# One valid statement of each type, and who believes it.
VALID: Final[dict[str, bytes]] = {
    signing.ORDER_STATEMENT: SIGNED_ORDER.envelope,
    signing.PLAN_STATEMENT: sign_plan(PLAN, NODE),
    signing.RESULT_STATEMENT: sign_outcome(OUTCOME, NODE),
    signing.CANCEL_STATEMENT: cancel_of(JOB),
    signing.KEY_STATEMENT: statement(NODE).data,
    signing.ROLL_CALL_STATEMENT: sign_roll_call(CALL, NODE),
}


def envelope_of(data: bytes) -> Envelope:
    return decode_record(data, Envelope, bytes_max=STATEMENT_BYTES_MAX)


def _read_order(data: bytes) -> None:
    """With the proof of membership that a member can make for whatever it signed itself."""
    envelope = envelope_of(data)
    proof = PROJECT.submit_proof(job_id_of(envelope.payload, envelope.signer), envelope.signer)
    verify_order(SignedOrder(envelope=data, proof=proof), {PROJECT.project_id: PROJECT})


READERS: Final[dict[str, Callable[[bytes], object]]] = {
    signing.ORDER_STATEMENT: _read_order,
    signing.PLAN_STATEMENT: verify_plan,
    signing.RESULT_STATEMENT: verify_outcome,
    signing.CANCEL_STATEMENT: lambda data: verify_cancel(data, JOB, SUBMITTER.public_key),
    signing.KEY_STATEMENT: lambda data: verify_key_statement(data, WALL_MS),
    signing.ROLL_CALL_STATEMENT: lambda data: verify_roll_call(data, WALL_MS),
}


def believed(reader: str, data: bytes) -> bool:
    try:
        READERS[reader](data)
    except FlottaError:
        return False
    return True


def statements(found: Found) -> None:
    found.hold(set(TYPES) == set(READERS) == set(VALID), f"a statement type has no cell: {set(TYPES) ^ set(READERS)}")
    for offered, data in VALID.items():
        envelope = envelope_of(data)
        key = SUBMITTER if envelope.signer == SUBMITTER.public_key else NODE
        for reader in TYPES:
            found.counts["statement cells"] += 1
            if reader == offered:
                found.hold(believed(reader, data), f"the valid {offered} is not believed: the control fails")
                continue
            found.hold(not believed(reader, data), f"{offered} was believed as {reader}")
            renamed = Envelope(
                payload_type=reader, payload=envelope.payload, signer=envelope.signer, signature=envelope.signature
            )
            found.hold(not believed(reader, envelope_bytes(renamed)), f"{offered} renamed to {reader} was believed")
            signed_anew = envelope_bytes(sign_statement(reader, envelope.payload, key))
            found.hold(not believed(reader, signed_anew), f"the payload of {offered}, signed as {reader}, was believed")
        for spelling in (offered.upper(), offered + " ", offered[:-1] + "2", "application/" + offered, offered + "\0"):
            found.counts["statement cells"] += 1
            again = envelope_bytes(sign_statement(spelling, envelope.payload, key))
            found.hold(not believed(offered, again), f"{offered} was believed under the name {spelling!r}")


def weak_keys() -> list[bytes]:
    points = _small_order_points()
    spellings = {one for _, y in points for one in _encodings(y)}
    return sorted(spellings | {one for y in range(19) for one in _encodings(y + FIELD)})


def resigned(head: bytes, body: bytes, key: SigningKey) -> bytes:
    """A frame of any header, with the valid signature of its bytes."""
    return head + key.sign(_signed_bytes(head, body)) + body


def at(raw: bytes, offset: int, data: bytes) -> bytes:
    return raw[:offset] + data + raw[offset + len(data) :]


def admitted_hop() -> PeerAdmitted:
    """A peer that passes on what others send."""
    return PeerAdmitted(
        node=HOP,
        node_key=HOP_KEY.public_key,
        curve_key=b"h" * 32,
        seal_key=b"s" * 32,
        addresses=("10.0.0.1:1456",),
        projects=(PROJECT.project_id,),
        name="hop",
    )


def _arriving(connection: Connection, raw: bytes) -> tuple[Gate, Arrived]:
    if connection == "relayed":
        gate = Gate(KEY, 7, {})
        gate.step(admitted_hop(), now())
        return gate, Arrived(raw=raw, node=PEER, via=HOP)
    gate = new_gate()
    if connection != "scheduler":
        return gate, over(connection, gate, raw)
    dial = DialDoor(
        session=b"d",
        node=PEER,
        node_key=PEER_KEY.public_key,
        server_curve=b"c" * 32,
        addresses=(),
        project=PROJECT.project_id,
        submitting=True,
    )
    gate.step(dial, now())
    return gate, Arrived(raw=raw, session=b"d", dialled=True)


def taken(connection: Connection, raw: bytes) -> Any:
    """The message that the gate lets in, or None."""
    gate, event = _arriving(connection, raw)
    received: list[Received] = news(gate.step(event, now()), Received)
    return received[0].message if received else None


def frames(found: Found) -> None:
    for said, example in zip(MESSAGES, EXAMPLES, strict=True):
        raw = frame(example)
        body = raw[BODY_OFFSET:]
        for claimed in MESSAGES:
            renumbered = at(raw[:HEADER_BYTES], 6, claimed.number.to_bytes(2))
            for connection in get_args(Connection):
                found.counts["frame cells"] += 1
                place = f"{said.record.__name__} as {claimed.record.__name__} over {connection}"
                message = taken(connection, resigned(renumbered, body, PEER_KEY))
                allowed = connection in claimed.connections
                if message is not None:
                    found.hold(allowed and type(message) is claimed.record, f"{place} was let in")
                    found.counts["of them of one shape"] += said is not claimed
                found.hold(
                    message is not None or not allowed or said is not claimed, f"{place}: the control was refused"
                )
                if said is not claimed:
                    forged = renumbered + raw[HEADER_BYTES:]
                    found.hold(taken(connection, forged) is None, f"{place} was let in with the old signature")


def headers(found: Found) -> None:
    """Suites, flags, magic and lengths that do not exist, each validly signed; keys that are weak."""
    raw = frame(GREETING)
    head, body = raw[:HEADER_BYTES], raw[BODY_OFFSET:]
    found.hold(taken("peer", resigned(head, body, PEER_KEY)) is not None, "the control of the header was refused")
    altered = [at(head, 4, bytes([suite])) for suite in range(256) if suite != 1]
    altered += [at(head, 5, bytes([flags])) for flags in range(1, 256)]
    altered += [at(head, 0, magic) for magic in (b"FLP0", b"FLP2", b"flp1", bytes(4))]
    altered += [at(head, 8, size.to_bytes(4)) for size in (len(body) + 1, 2**32 - 1)]
    for one in altered:
        found.counts["header cells"] += 1
        found.hold(taken("peer", resigned(one, body, PEER_KEY)) is None, f"the header {one[:12].hex()} was let in")
    hello = frame(EXAMPLES[0])
    for weak in weak_keys():
        found.counts["weak keys"] += 2
        forged = at(hello[:HEADER_BYTES], 12, weak) + IDENTITY_SIGNATURE + hello[BODY_OFFSET:]
        found.hold(taken("knocking", forged) is None, f"a frame under the weak key {weak.hex()} was let in")
        for offered, data in VALID.items():
            payload = envelope_of(data).payload
            envelope = Envelope(payload_type=offered, payload=payload, signer=weak, signature=IDENTITY_SIGNATURE)
            found.hold(
                not believed(offered, envelope_bytes(envelope)), f"{offered} under the weak key {weak.hex()} held"
            )


def across(found: Found) -> None:
    """A frame's signature in a statement, and a statement's in a frame."""
    raw = frame(GREETING)
    frame_signature, spoken = raw[HEADER_BYTES:BODY_OFFSET], _signed_bytes(raw[:HEADER_BYTES], raw[BODY_OFFSET:])
    for offered in TYPES:
        for payload in (raw, spoken, raw[BODY_OFFSET:], raw[:HEADER_BYTES]):
            found.counts["frame and statement"] += 1
            envelope = Envelope(
                payload_type=offered, payload=payload, signer=PEER_KEY.public_key, signature=frame_signature
            )
            found.hold(not believed(offered, envelope_bytes(envelope)), f"a frame was believed as {offered}")
    for offered, data in VALID.items():
        signature = envelope_of(data).signature
        for said, body in _bodies(data):
            found.counts["frame and statement"] += 1
            head = frame(GREETING)[:HEADER_BYTES]
            head = at(at(head, 6, said.to_bytes(2)), 8, len(body).to_bytes(4))
            for connection in get_args(Connection):
                found.hold(taken(connection, head + signature + body) is None, f"{offered} was let in as a frame")


def _bodies(data: bytes) -> Iterator[tuple[int, bytes]]:
    for entry in MESSAGES:
        yield entry.number, data
        yield entry.number, envelope_of(data).payload


def confuse() -> Found:
    found = Found()
    for part in (statements, frames, headers, across):
        part(found)
    return found
