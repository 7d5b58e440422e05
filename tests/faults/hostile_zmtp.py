"""Hostile clients that speak ZMTP and CURVE: strangers, who knows a project's door key, and an accepted peer."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import zmq
from zmq.utils import z85

from actors.adapters.clock import SystemClock
from actors.adapters.curve_sockets import CurveKeys
from actors.adapters.statements import fetch_statement
from flotta_p2p.demo.fleet import free_ports
from protocol.ids import node_id
from protocol.key_statement import Certified, KeyStatement, sign_key_statement, verify_key_statement
from protocol.limits import FRAME_BYTES_MAX, MIB
from protocol.machines.joiner import Joiner
from protocol.signing import SigningKey
from protocol.tokens import ProjectKey
from protocol.wire.door import Challenge, Welcome
from protocol.wire.frame import BODY_OFFSET, Header, parse_header, seal
from protocol.wire.peers import Heartbeat
from protocol.wire.registry import BY_NUMBER, decode_message, encode_message
from tests.faults.hostile_tcp import noise
from tests.protocol.machines.test_gate import EXAMPLES

HOST: Final = "127.0.0.1"
DWELL_S: Final = 2.5  # longer than a handshake may take
WAIT_S: Final = 10.0


def new_curve() -> CurveKeys:
    public, secret = zmq.curve_keypair()
    return CurveKeys(secret=z85.decode(secret), public=z85.decode(public))


class Attacker:
    """What a stranger can learn of a node, and, for the later attacks, the token of its project."""

    def __init__(self, port: int, token: str) -> None:
        self.endpoint = f"tcp://{HOST}:{port}"
        self.project = ProjectKey.derive(token)
        self.victim: Certified = verify_key_statement(fetch_statement(HOST, port).statement, 0)
        self.key = SigningKey(os.urandom(32))
        self.id = node_id(self.key.public_key)
        self.curve = new_curve()
        self.door = CurveKeys(secret=self.project.door_secret, public=self.project.door_public)
        self._sequence = 0

    @contextmanager
    def socket(
        self, keys: CurveKeys | None, *, kind: int = zmq.DEALER, server: bytes = b"", prepare: Any = None
    ) -> Iterator[zmq.Socket[bytes]]:
        context = zmq.Context()
        one: zmq.Socket[bytes] = context.socket(kind)
        one.setsockopt(zmq.LINGER, 0)
        one.setsockopt(zmq.SNDHWM, 100_000)
        if keys is not None:
            one.setsockopt(zmq.CURVE_SERVERKEY, server or self.victim.statement.curve_key)
            one.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            one.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        if prepare is not None:
            prepare(one)
        try:
            yield one
        finally:
            one.close(0)
            context.term()

    def frame(self, message: Any, **fields: Any) -> bytes:
        """Well-formed and validly signed by the attacker's own key."""
        self._sequence += 1
        number, body = encode_message(message)
        header: dict[str, Any] = {
            "type": number,
            "sender_key": self.key.public_key,
            "audience": self.victim.node,
            "message_id": os.urandom(16),
            "boot_id": 1,
            "sequence": self._sequence,
            "issued_ms": SystemClock().now().wall_ms,
            "project": self.project.project_id,
        }
        return seal(Header(**(header | fields)), body, self.key)

    def enrol(self) -> None:
        """Becomes a peer by the token, as any node would."""
        says = KeyStatement(
            version=1,
            curve_key=self.curve.public,
            seal_key=self.curve.public,
            addresses=(f"{HOST}:{free_ports(1)[0]}",),
            sequence=1,
            not_after_ms=SystemClock().now().wall_ms + 3_600_000,
            name="intruder",
        )
        joiner = Joiner(
            role="node",
            own_id=self.id,
            statement=sign_key_statement(says, self.key),
            curve_key=self.curve.public,
            nonce=os.urandom(16),
            target=self.victim,
            project=self.project,
        )
        with self.socket(self.door) as door:
            door.connect(self.endpoint)
            door.send(self.frame(joiner.hello))
            challenge = _answer(door)
            assert isinstance(challenge, Challenge), challenge
            door.send(self.frame(joiner.answer(challenge, SystemClock().now())))
            assert isinstance(_answer(door), Welcome)

    def crowd(self, keys: CurveKeys | None, connections: int, *, server: bytes = b"", prepare: Any = None) -> None:
        """So many connections at once, held for DWELL_S. A ROUTER dials one address more than once."""
        with self.socket(keys, kind=zmq.ROUTER, server=server, prepare=prepare) as one:
            for _ in range(connections):
                one.connect(self.endpoint)
            time.sleep(DWELL_S)

    def pour(self, keys: CurveKeys, messages: Iterator[list[bytes]], *, prepare: Any = None) -> int:
        """Sends all over one connection and waits until the node has had time to read them."""
        sent = 0
        with self.socket(keys, prepare=prepare) as one:
            one.connect(self.endpoint)
            for parts in messages:
                with contextlib.suppress(zmq.Again):
                    one.send_multipart(parts, zmq.DONTWAIT)
                    sent += 1
            time.sleep(DWELL_S)
        return sent


def _answer(door: zmq.Socket[bytes]) -> Any:
    assert door.poll(int(WAIT_S * 1_000)), "the door gave no answer"
    raw = door.recv()
    return decode_message(parse_header(raw).type, raw[BODY_OFFSET:])


def garbage(attacker: Attacker) -> Iterator[list[bytes]]:
    """Nothing of it is a message that its sender may send here in this way."""
    for size in (0, 1, 4, 159, 160, 223, 224, 225, 1_000, 65_536, MIB, FRAME_BYTES_MAX - 64):
        yield [noise(size)]
        yield [b"FLP1" + noise(size)]
    for example in EXAMPLES:
        raw = attacker.frame(example)
        yield [raw[: len(raw) // 2]]
        yield [raw + b"more"]
        yield [raw[:-1] + bytes([raw[-1] ^ 1])]
        yield [raw, raw]
        yield [attacker.frame(example, audience=attacker.id)]
        yield [attacker.frame(example, issued_ms=1)]
        yield [attacker.frame(example, project=bytes(15) + b"x")]
    for number, entry in BY_NUMBER.items():
        head = bytearray(attacker.frame(Heartbeat())[:BODY_OFFSET])
        head[6:8] = number.to_bytes(2)
        head[8:12] = (entry.body_bytes_max + 1).to_bytes(4)
        if entry.body_bytes_max + 1 + BODY_OFFSET < FRAME_BYTES_MAX - 64:
            yield [bytes(head) + bytes(entry.body_bytes_max + 1)]
    yield [b"x" * 100] * 5_000
    yield [b""] * 5_000
    yield [noise(MIB // 2)] * 8


def every_type(attacker: Attacker) -> Iterator[list[bytes]]:
    for example in EXAMPLES * 3:
        yield [attacker.frame(example)]


def flood(attacker: Attacker, frames: int) -> Iterator[list[bytes]]:
    raw = attacker.frame(Heartbeat())
    for _ in range(frames):
        yield [raw]


def too_large(attacker: Attacker) -> Iterator[list[bytes]]:
    for _ in range(4):
        yield [bytes(FRAME_BYTES_MAX + 1)]


def _plain(one: zmq.Socket[bytes]) -> None:
    one.setsockopt(zmq.PLAIN_USERNAME, b"admin")
    one.setsockopt(zmq.PLAIN_PASSWORD, b"admin")


def _chosen(one: zmq.Socket[bytes]) -> None:
    one.setsockopt(zmq.ROUTING_ID, b"\0abcd")


Attack = Callable[[Attacker, int], object]
STRANGERS: Final[dict[str, Attack]] = {
    "NULL": lambda one, count: one.crowd(None, count),
    "PLAIN": lambda one, count: one.crowd(None, count, prepare=_plain),
    "wrong server key": lambda one, count: one.crowd(one.curve, count, server=new_curve().public),
    "unknown client key": lambda one, count: one.crowd(new_curve(), count),
}
MEMBERS: Final[dict[str, Attack]] = {
    "door key, held": lambda one, count: one.crowd(one.door, count),
    "door key, garbage": lambda one, _: one.pour(one.door, garbage(one)),
    "door key, every type": lambda one, _: one.pour(one.door, every_type(one)),
    "door key, too large": lambda one, _: one.pour(one.door, too_large(one)),
    "door key, flood": lambda one, count: one.pour(one.door, flood(one, 10 * count)),
}
PEERS: Final[dict[str, Attack]] = {
    "peer, garbage": lambda one, _: one.pour(one.curve, garbage(one)),
    "peer, every type": lambda one, _: one.pour(one.curve, every_type(one)),
    "peer, too large": lambda one, _: one.pour(one.curve, too_large(one)),
    "peer, chosen routing id": lambda one, _: one.pour(one.curve, every_type(one), prepare=_chosen),
    "peer, flood": lambda one, count: one.pour(one.curve, flood(one, 10 * count)),
    "peer, held": lambda one, count: one.crowd(one.curve, count),
}


def endless(attacker: Attacker, size_bytes: int = 256 * MIB) -> None:
    """One message of so many bytes in parts of 1 MiB: whole at its sender, it reaches the node part after part."""
    attacker.pour(attacker.door, iter([[bytes(MIB)] * (size_bytes // MIB)]))
