"""Mutated messages of accepted peers and submitters into the machines: they refuse what they like, and never raise.

Real jobs and real handshakes run; before a message reaches its machine, neighbours of it do. A neighbour is a record
that still decodes, or the same message around a statement that was mutated and signed again by its signer: what a
member with a valid key can send. Some products are large, so that their chunks are asked for and sent, and the child of
one may say its pieces wrongly. After each step `check` holds, and at the end every node reads its rows again.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

import msgspec

from protocol.errors import RemoteProtocolError
from protocol.ids import node_id
from protocol.key_statement import verify_key_statement
from protocol.machines.contract import Received, StartTask, TimerFired
from protocol.machines.events import Discovered, PeerProved, ProjectsHeld, TaskFaulted, TaskPiece, TaskProduced
from protocol.machines.membership import Membership
from protocol.plan.order import SignedOrder, job_id_of
from protocol.plan.products import chunks_in
from protocol.signing import Envelope, pae
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.door import Challenge, Hello
from protocol.wire.jobs import (
    AskCancel,
    AskJob,
    AskJobs,
    AskRemove,
    AskRemoveEnded,
    AskResult,
    AskResultChunk,
    JobResult,
    Results,
    Stop,
    Submit,
    Tasks,
)
from protocol.wire.peers import Acknowledge, Greeting, Heartbeat, RollCall
from protocol.wire.registry import decode_message, encode_message
from protocol.wiring import takers
from simulations.products import INLINE_BYTES, small_chunks
from simulations.report import FAILURES_SHOWN_MAX
from tests.fuzz.mutations import Sample, mutate_tree, tree_sample
from tests.fuzz.samples import bodies, messages
from tests.protocol.builders import (
    PROJECT,
    SUBMITTER,
    WALL_MS,
    cancel_of,
    node_key,
    now,
    order,
    received,
    signed,
    statement,
)
from tests.protocol.fleet import SUBMISSION, Fleet, Node, product_of
from tests.protocol.machines.test_enrolment import HIGH, LOW, Link, Side

TRIES_MAX = 12  # mutations of one message until one still decodes
NEIGHBOURS_MAX = 6  # of one message
KEYS = {key.public_key: key for key in (SUBMITTER, LOW, HIGH, *(node_key(number) for number in range(8)))}
ENVELOPES = {
    Tasks: "plan",
    Stop: "cancel",
    AskCancel: "cancel",
    Greeting: "statement",
    RollCall: "envelope",
    Hello: "statement",
    Challenge: "statement",
}


class Enough(Exception):
    """So many messages as were asked for have been given."""


@cache
def _pool() -> list[Sample]:
    return [tree_sample(body) for _, body in bodies()]


class Hostile:
    """Makes neighbours of messages, and counts what was given to machines."""

    def __init__(self, random: Random, steps: int) -> None:
        self.random = random
        self.given = 0
        self.steps = steps

    def count(self) -> None:
        if self.given >= self.steps:
            raise Enough
        self.given += 1

    def neighbour(self, message: Any) -> Any:
        """Another message of the same type, or None when none was found."""
        if self.random.random() < 0.35:
            message = self._resigned(message)
            if self.random.random() < 0.7:
                return _sendable(message)
        number, body = encode_message(message)
        sample = tree_sample(body)
        for _ in range(TRIES_MAX):
            try:
                return _sendable(decode_message(number, mutate_tree(self.random, sample, _pool())))
            except RemoteProtocolError:
                continue
        return None

    def _resigned(self, message: Any) -> Any:
        replace = msgspec.structs.replace
        match message:
            case Tasks(order=an_order) | Submit(order=an_order) if self.random.random() < 0.5:
                changed, job_id = self._reordered(an_order)
                return replace(message, order=changed, **({"job_id": job_id} if isinstance(message, Tasks) else {}))
            case Results(results=(first, *rest)):
                return replace(message, results=(replace(first, outcome=self._statement(first.outcome)), *rest))
            case Tasks() | Stop() | AskCancel() | Greeting() | RollCall() | Hello() | Challenge():
                field = ENVELOPES[type(message)]
                return replace(message, **{field: self._statement(getattr(message, field))})
        return message

    def _reordered(self, an_order: SignedOrder) -> tuple[SignedOrder, bytes]:
        envelope = decode_record(self._statement(an_order.envelope), Envelope, bytes_max=1 << 24)
        job_id = job_id_of(envelope.payload, envelope.signer)
        proof = PROJECT.submit_proof(job_id, envelope.signer)
        return SignedOrder(envelope=encode_record(envelope), proof=proof), job_id

    def _statement(self, data: bytes) -> bytes:
        """The same signer's word about something near."""
        if not data:
            return data
        said = decode_record(data, Envelope, bytes_max=1 << 20)
        key = KEYS[said.signer]
        for _ in range(TRIES_MAX):
            payload = mutate_tree(self.random, tree_sample(said.payload), _pool())
            if payload != said.payload:
                break
        signature = key.sign(pae(said.payload_type, payload))
        return encode_record(msgspec.structs.replace(said, payload=payload, signature=signature))


def _sendable(message: Any) -> Any:
    """Raises RemoteProtocolError for what its sender's own gate would keep back."""
    encode_message(message)
    return message


# --- scheduler and worker, with delivery around them ----------------------------------------------------


class HostileFleet(Fleet):
    """Before a machine takes a message it is given neighbours of it."""

    def __init__(self, hostile: Hostile) -> None:
        self._hostile = hostile
        self._within = False
        self._hostility = hostile.random.choice((0.05, 0.2, 1.0))  # a job lives long only where few are hostile
        self._faults = hostile.random.random() < 0.5
        super().__init__(3, sources=2, compute=self._task)

    def _task(self, node: Node, start: StartTask) -> Any:
        """In half of the lives some tasks fault, and some are never done, so that leases are renewed and run out."""
        chance = int.from_bytes(start.key[-1:]) + len(self.started) % 7
        if self._faults and chance % 5 == 0:
            return None
        if self._faults and chance % 11 == 0:
            return TaskFaulted(key=start.key, code="column-unknown", sentence="no such column")
        if chance % 2 == 0:
            return TaskProduced(key=start.key, product=start.key * (2 * INLINE_BYTES // len(start.key)))
        return product_of(node, start)

    def step(self, node: Node, owner: str, event: Any) -> None:
        chance = self._hostility * (
            0.1 if isinstance(event, Received) and isinstance(event.message, Acknowledge) else 1.0
        )
        if isinstance(event, Received) and not self._within and self._hostile.random.random() < chance:
            self._within = True
            for _ in range(self._hostile.random.randrange(NEIGHBOURS_MAX)):
                self._give_neighbour(node, event)
            self._within = False
        if isinstance(event, TaskPiece) and self._hostile.random.random() < self._hostility / 4:
            event = self._wrong_piece(event)
        super().step(node, owner, event)

    def _wrong_piece(self, piece: TaskPiece) -> TaskPiece:
        """A child is not trusted either."""
        self._hostile.count()
        changes: dict[str, Any] = self._hostile.random.choice(
            ({"number": piece.number + 1}, {"data": b""}, {"data": piece.data * 2}, {"data": piece.data[:-1]})
        )
        return msgspec.structs.replace(piece, **changes)

    def ask_for_chunks(self, job_id: bytes) -> None:
        """Of the result that the submitter was told of, if it is a large one, and of others."""
        told = [one for one in self.told if isinstance(one, JobResult) and one.job_id == job_id]
        for digest in (b"d" * 32, *(digest for result in told for digest in chunks_in(result.product))):
            ask = AskResultChunk(job_id=job_id, digest=digest)
            self.step(self.leader, "scheduler", received(ask, SUBMITTER_ID, session=SUBMISSION))

    def _give_neighbour(self, node: Node, event: Received) -> None:
        random = self._hostile.random
        try:
            message = self._hostile.neighbour(event.message)
        except RemoteProtocolError:
            return
        if message is None:
            return
        self._hostile.count()
        sender = event.sender if event.session or random.random() < 0.8 else random.choice(self.nodes).id
        identity = event.message_id if random.random() < 0.2 else random.randbytes(16)
        changed = msgspec.structs.replace(event, message=message, sender=sender, message_id=identity)
        for owner in takers(changed):
            if owner in node.machines:
                super().step(node, owner, changed)


def _jobs(hostile: Hostile) -> int:
    random = hostile.random
    fleet = HostileFleet(hostile)
    for number in range(3):
        an_order, job_id = signed(order(nonce=bytes([number]) * 16))
        questions: list[Any] = [Submit(order=an_order), AskJob(job_id=job_id), AskResult(job_id=job_id), AskJobs()]
        if random.random() < 0.4:
            questions.append(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
        if random.random() < 0.4:
            questions.append(random.choice((AskRemove(job_id=job_id), AskRemoveEnded(ended_ms_ago=0))))
        for question in questions:
            fleet.step(fleet.leader, "scheduler", received(question, SUBMITTER_ID, session=SUBMISSION))
            if random.random() < 0.5:
                fleet.run()
        fleet.run_for(random.choice((1_000, 20_000)))
        fleet.step(fleet.leader, "scheduler", received(AskResult(job_id=job_id), SUBMITTER_ID, session=SUBMISSION))
        fleet.ask_for_chunks(job_id)
        if random.random() < 0.5:
            random.choice(fleet.nodes).restart()
    for node in fleet.nodes:
        node.restart()
    fleet.run_for(1_000)
    return len(fleet.refused)


SUBMITTER_ID = node_id(SUBMITTER.public_key)


# --- membership -----------------------------------------------------------------------------------------


def _peers(hostile: Hostile) -> int:
    """One machine and a peer that may say anything about itself, and is heard by discovery too."""
    own, peer = node_key(1), node_key(2)
    sources = {"open": frozenset([PROJECT.project_id])}
    machine = Membership(node_id(own.public_key), "own", sources, ("10.0.0.2:1456",), {})
    at = now()
    machine.step(ProjectsHeld(projects=(PROJECT,), statement=statement(own).data), at)
    machine.step(PeerProved(certified=statement(peer), project=PROJECT.project_id), at)
    refused = 0
    for n in range(60):
        at = now(n * 1_000)
        message = hostile.random.choice((*messages()[Greeting], *messages()[RollCall], Heartbeat()))
        if isinstance(message, Greeting):
            message = msgspec.structs.replace(message, statement=statement(peer, sequence=n).data)
        try:
            message = hostile.neighbour(message) or message
        except RemoteProtocolError:
            continue
        hostile.count()
        event: Any = received(message, node_id(peer.public_key), project=PROJECT.project_id)
        if isinstance(message, Greeting) and hostile.random.random() < 0.3:
            try:
                event = Discovered(certified=verify_key_statement(message.statement, WALL_MS), heard_at="10.0.0.2:1456")
            except RemoteProtocolError:
                continue
        refused += sum(type(effect).__name__ == "Refuse" for effect in machine.step(event, at))
        machine.check()
        machine.step(TimerFired(name="beat"), at)
        machine.check()
    machine.snapshot()
    return refused


# --- the door ---------------------------------------------------------------------------------------------


def _doors(hostile: Hostile) -> int:
    """Handshakes through both gates in which any message may be another, and may come twice."""

    def changed(message: Any) -> Any:
        if hostile.random.random() < 0.4:
            return message
        try:
            other = hostile.neighbour(message)
        except RemoteProtocolError:
            return message
        hostile.count()
        return other or message

    refused = 0
    for _ in range(20):
        one, other = Side(LOW), Side(HIGH)
        link = Link(one, other, changed)
        for number in hostile.random.sample((0, 1), 2):
            link.meet(number, typed=hostile.random.random() < 0.5)
            link.fire(number, "knock:")
        for number, kind in ((0, "session:"), (1, "session:"), (0, "knock:"), (1, "idle:")):
            link.fire(number, kind)
        refused += sum(type(told).__name__ == "Refuse" for told in (*one.told, *other.told))
    return refused


LIVES = (_jobs, _jobs, _jobs, _peers, _jobs, _doors)


def run_steps(seed: int, number: int, steps: int) -> tuple[int, int, list[str]]:
    """(messages given, refusals, what broke) of one batch."""
    random = Random(f"{seed}/{number}/steps")
    hostile = Hostile(random, steps)
    refused, escapes = 0, list[str]()
    life = 0
    _pool()  # samples have chunks of the real size
    while hostile.given < steps and len(escapes) < FAILURES_SHOWN_MAX:
        live = LIVES[life % len(LIVES)]
        life += 1
        try:
            with small_chunks():
                refused += live(hostile)
        except Enough:
            break
        except Exception as error:  # the outermost frame of the fuzzer: whatever comes is a find
            where = f"seed {seed}, batch {number}, {live.__name__.strip('_')}, message {hostile.given}"
            escapes.append(f"{type(error).__name__}: {str(error)[:300]} ({where})")
    return hostile.given, refused, escapes
