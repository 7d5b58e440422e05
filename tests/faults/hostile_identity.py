"""Spoofing: frames, routing ids, announcements and statements that claim to be somebody else's. Each is refused and
named, and the real one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec
import zmq

from actors.adapters.curve_sockets import harden
from actors.adapters.statements import to_txt
from actors.adapters.zmq_wire import Carry
from protocol.errors import Code, RemoteProtocolError
from protocol.ids import node_id
from protocol.key_statement import Certified, KeyStatement, sign_key_statement, verify_key_statement
from protocol.limits import CLOCK_TOLERANCE_MS
from protocol.machines.contract import Received
from protocol.machines.enrolment import Enrolment
from protocol.machines.events import Arrived, Counted, Discovered, PeerAdmitted, PeerProved, ProjectsHeld
from protocol.machines.gate import Gate
from protocol.machines.membership import Membership
from protocol.signing import Envelope, SigningKey, envelope_bytes, open_statement
from protocol.wire.door import Hello
from protocol.wire.peers import Greeting, Heartbeat
from tests.actors.adapters.test_zmq_wire import DOOR, KNOWN, SERVER, dealer, station
from tests.faults.outcome import Found
from tests.protocol.builders import (
    PROJECT,
    STRANGER,
    WALL_MS,
    news,
    node_key,
    now,
    received,
    refusals,
    statement,
    writes,
)
from tests.protocol.machines.test_gate import KEY, OWN, frame

ALICE, BOB, MALLORY = node_key(11), node_key(12), STRANGER
ALICE_ID, BOB_ID = node_id(ALICE.public_key), node_id(BOB.public_key)
LIMIT_MS: Final = 10_000


def _admitted(key: SigningKey) -> PeerAdmitted:
    return PeerAdmitted(
        node=node_id(key.public_key),
        node_key=key.public_key,
        curve_key=key.public_key,
        seal_key=b"s" * 32,
        addresses=(),
        projects=(PROJECT.project_id,),
        name="p",
    )


def frames(found: Found) -> None:
    """Of two peers, neither speaks as the other, whoever's connection it uses."""
    gate = Gate(KEY, 7, {})
    for key in (ALICE, BOB):
        gate.step(_admitted(key), now())
    for connection, signer in ((ALICE_ID, BOB), (BOB_ID, ALICE), (ALICE_ID, MALLORY)):
        effects = gate.step(Arrived(raw=frame(Heartbeat(), signer), node=connection), now())
        _named(found, "a frame of another sender", [one.code for one in news(effects, Counted)], Code.SENDER_WRONG)
        found.hold(not news(effects, Received) and not writes(effects), "a frame of another sender was taken")
    claimed = bytearray(frame(Heartbeat(), MALLORY))
    claimed[12:44] = ALICE.public_key
    effects = gate.step(Arrived(raw=bytes(claimed), node=ALICE_ID), now())
    _named(found, "a sender key of another", [one.code for one in news(effects, Counted)], Code.SIGNATURE_WRONG)
    stranger = Arrived(raw=frame(Heartbeat(), MALLORY), node=node_id(MALLORY.public_key))
    codes = [one.code for one in news(gate.step(stranger, now()), Counted)]
    _named(found, "a frame of no peer", codes, Code.STRANGER)
    for key in (ALICE, BOB):
        real = gate.step(Arrived(raw=frame(Heartbeat(), key), node=node_id(key.public_key)), now())
        found.hold(news(real, Received), "the real peer's frame was refused afterwards")


def routing_ids(found: Found) -> None:
    """A second connection takes the routing id of a live session: the answers still go to the first."""
    with station(SERVER, KNOWN) as it, dealer(it.address, DOOR) as real:
        real.send(b"real")
        (knocked,) = it.arrived.wait(bool)
        with dealer(it.address, DOOR, partial(_with_id, knocked.session[-5:])) as thief:
            thief.send(b"as the other")
            with dealer(it.address, DOOR) as third:
                third.send(b"third")  # came later over the wire than the thief, who is therefore read or refused
                it.arrived.wait(lambda told: any(one.raw == b"third" for one in told))
            for number in range(50):
                it.post(Carry(name=knocked.session, raw=b"for the real one %d" % number))
            for number in range(50):
                found.counts["spoofs"] += 1
                got = real.recv() if real.poll(LIMIT_MS) else b""
                found.hold(got == b"for the real one %d" % number, f"answer {number} went astray")
            found.hold(not thief.poll(100), "an answer came to the thief of a routing id")


def _with_id(routing_id: bytes, one: zmq.Socket[bytes]) -> None:
    harden(one)
    one.setsockopt(zmq.ROUTING_ID, routing_id)


def forged_statements() -> Iterator[tuple[str, bytes, Code]]:
    """Key statements that no reader may believe, and why."""
    real = statement(ALICE).data
    opened = open_statement(real, "flotta-p2p/key-statement/1")
    envelope = msgspec.structs.replace  # of an envelope, field by field
    said = Envelope(
        payload_type="flotta-p2p/key-statement/1", payload=opened.payload, signer=ALICE.public_key, signature=bytes(64)
    )
    yield "no signature", envelope_bytes(said), Code.SIGNATURE_WRONG
    theirs = MALLORY.sign(opened.payload)
    yield "a stranger's signature", envelope_bytes(envelope(said, signature=theirs)), Code.SIGNATURE_WRONG
    for at in range(len(real) - 64, len(real)):
        altered = real[:at] + bytes([real[at] ^ 1]) + real[at + 1 :]
        yield f"byte {at} altered", altered, Code.SIGNATURE_WRONG
    old = statement(ALICE, not_after_ms=WALL_MS - CLOCK_TOLERANCE_MS - 1).data
    yield "expired", old, Code.TIME_OUTSIDE
    yield "with more behind it", real + b"x", Code.STATEMENT_MALFORMED
    says = KeyStatement(
        version=1,
        curve_key=b"short",
        seal_key=b"s" * 32,
        addresses=(),
        sequence=1,
        not_after_ms=WALL_MS * 2,
        name="n",
        hints=(),
    )
    yield "with a short key", sign_key_statement(says, ALICE), Code.STATEMENT_MALFORMED
    elsewhere = msgspec.structs.replace(says, curve_key=b"c" * 32, addresses=("ipc:///x:1",))
    yield "with an impossible address", sign_key_statement(elsewhere, ALICE), Code.STATEMENT_MALFORMED


def announcements(found: Found) -> None:
    """In TXT records and at statement ports: what is forged is refused; what is another node's own is that node's, old
    news changes nothing, and a stranger's statement never touches a peer.
    """
    for name, data, code in forged_statements():
        try:
            verify_key_statement(data, WALL_MS)
        except RemoteProtocolError as error:
            _named(found, name, [error.code], code)
        else:
            found.fail(f"a key statement {name} was believed")
    peer = statement(ALICE, sequence=5, addresses=("10.0.0.1:1",))
    membership = Membership(OWN, "me", {}, (), {})
    membership.step(ProjectsHeld(projects=(PROJECT,), statement=b""), now())
    membership.step(PeerProved(certified=peer, project=PROJECT.project_id), now())
    attempts: dict[str, tuple[Certified, str]] = {
        "an older statement of a peer": (statement(ALICE, sequence=4, curve=b"o" * 32), "6.6.6.6:6"),
        "a peer's own statement from elsewhere": (peer, "6.6.6.6:6"),
        "a stranger's statement with the peer's addresses": (
            statement(MALLORY, sequence=9, addresses=("10.0.0.1:1",)),
            "10.0.0.1:1",
        ),
        "a stranger's statement with the peer's key": (
            statement(MALLORY, sequence=9, curve=peer.statement.curve_key),
            "10.0.0.1:1",
        ),
    }
    for name, (certified, heard_at) in attempts.items():
        found.counts["spoofs"] += 1
        effects = membership.step(Discovered(certified=certified, heard_at=heard_at), now())
        found.hold(not writes(effects) and not news(effects, PeerAdmitted), f"{name} changed a peer")
        view = next(one for one in membership.snapshot().peers if one.node == ALICE_ID)
        found.hold(view.addresses == ("10.0.0.1:1",), f"{name} moved a peer to {view.addresses}")
    found.hold(all(len(one) <= 255 for one in to_txt(peer.data).values()), "a statement does not fit a TXT record")


def at_the_door(found: Found) -> None:
    """Hello and Greeting with a statement that is not the sender's."""
    enrolment = Enrolment(OWN, 1, bytes(32), b"c" * 32, b"s" * 32)
    enrolment.step(ProjectsHeld(projects=(PROJECT,), statement=statement(KEY).data), now())
    alice = statement(ALICE)
    for name, said, curve, code in (
        ("hello with another's statement", alice.data, alice.statement.curve_key, Code.SENDER_WRONG),
        ("hello with another CURVE key", statement(MALLORY).data, b"k" * 32, Code.SENDER_WRONG),
        ("hello without a statement", b"", b"k" * 32, Code.STATEMENT_MALFORMED),
    ):
        hello = Hello(role="node", statement=said, curve_key=curve, nonce=b"n" * 16, versions=(1,))
        event = received(hello, node_id(MALLORY.public_key), session=name.encode(), project=PROJECT.project_id)
        _named(found, name, refusals(enrolment.step(event, now())), code)
    membership = Membership(OWN, "me", {}, (), {})
    membership.step(ProjectsHeld(projects=(PROJECT,), statement=b""), now())
    for key in (ALICE, BOB):
        membership.step(PeerProved(certified=statement(key), project=PROJECT.project_id), now())
    greeting = Greeting(statement=alice.data, name="p", projects=(), sources=(), answer_wanted=False)
    effects = membership.step(received(greeting, BOB_ID), now())
    _named(found, "greeting with another's statement", refusals(effects), Code.SENDER_WRONG)
    found.hold(not writes(effects), "a greeting with another's statement was stored")


def _named(found: Found, name: str, codes: list[Any], code: Code) -> None:
    found.counts["spoofs"] += 1
    found.hold(codes == [code], f"{name}: refused as {codes}, not as {code}")


PARTS: Final[tuple[Callable[[Found], None], ...]] = (frames, routing_ids, announcements, at_the_door)


def spoof() -> Found:
    found = Found()
    for part in PARTS:
        part(found)
    return found
