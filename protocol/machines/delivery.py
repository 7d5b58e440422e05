"""Delivery: at-least-once with idempotent receivers. ZeroMQ is a transport, not a guarantee.

A durable message is a row of the outbox, written in the same batch as the change that it announces, repeated until
the receiver says that it has committed it. A received message is a row of the inbox, written in the same batch as its
effects; a copy is only acknowledged again. `Courier` puts this around one machine, so that neither the machine nor
its shell has to know.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from protocol import kinds
from protocol.errors import Code
from protocol.ids import message_id
from protocol.limits import (
    HURRY_MS_MIN,
    INBOX_KEEP_MS,
    INBOX_ROWS_MAX,
    OUTBOX_BYTES_PER_PEER_MAX,
    OUTBOX_ROWS_PER_PEER_MAX,
    RECORD_BYTES_MAX,
    RETRY_MS_MAX,
    RETRY_MS_MIN,
    STEP_EFFECTS_MAX,
)
from protocol.machines.combining import combine_effects, combine_writes
from protocol.machines.contract import (
    Drop,
    Effect,
    Effects,
    Machine,
    Now,
    Persist,
    Put,
    Received,
    Refuse,
    Send,
    SetTimer,
    TimerFired,
)
from protocol.machines.events import PeerReached, PeerSeen
from protocol.record import Record
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.peers import Acknowledge, Poll, Polled
from protocol.wire.registry import BY_NUMBER, type_of

TIMER: Final = "deliver"


class OutboxRow(Record, frozen=True):
    to: bytes
    type: int
    body: bytes
    project: bytes
    fence: int
    expires_ms: int


class _Waiting:
    """One unacknowledged message."""

    def __init__(self, send: Send, body_bytes: int, expires_ms: int, due_ns: int) -> None:
        self.send = send
        self.body_bytes = body_bytes
        self.expires_ms = expires_ms
        self.due_ns = due_ns
        self.attempts = 1


class CourierSnapshot(Record, frozen=True):
    waiting: int
    remembered: int
    expired: int
    inner: Any


class Courier:
    """A machine with delivery around it; itself a machine. `owner` names the machine: its rows begin with that name."""

    def __init__(
        self,
        machine: Machine,
        owner: str,
        own_id: bytes,
        boot_id: int,
        incarnation: int,
        rows: Mapping[str, list[tuple[bytes, bytes]]],
    ) -> None:
        """`incarnation` differs between two lives of the machine within one boot: no message id is used twice."""
        self.machine = machine
        self._owner = owner
        self._own_id = own_id
        self._boot_id = boot_id
        self._incarnation = incarnation
        self._counter = 0
        self._expired = 0
        self._timer_generation = 0
        self._timer_at_ns = 0  # 0: no timer is set
        prefix = self._prefix = owner.encode() + b"\0"
        mine = [(key, int.from_bytes(value)) for key, value in rows.get(kinds.INBOX, []) if key.startswith(prefix)]
        self._inbox = {  # limits.INBOX_ROWS_MAX: sender + message id → when, the oldest first
            key.removeprefix(prefix): when for key, when in sorted(mine, key=lambda row: row[1])
        }
        self._outbox: dict[bytes, _Waiting] = {}  # limits.OUTBOX_ROWS_PER_PEER_MAX for each peer
        self._per_peer: dict[bytes, int] = {}  # limits.PEERS_MAX: those in the outbox
        self._bytes_per_peer: dict[bytes, int] = {}  # limits.PEERS_MAX
        self._hurried_ns: dict[bytes, int] = {}  # limits.PEERS_MAX: those in the outbox that have come back, and when
        for key, value in rows.get(kinds.OUTBOX, []):
            if key.startswith(prefix):
                self._restore(key.removeprefix(prefix), value)

    def begin(self, now: Now) -> Effects:
        """Called once after a start: what was unacknowledged is sent again, and the machine takes up its work."""
        for waiting in self._outbox.values():
            waiting.due_ns = now.boot_ns
        begin = getattr(self.machine, "begin", None)
        effects: Effects = begin(now) if begin is not None else ()
        return self._finish(effects, [], now)

    def step(self, event: Any, now: Now) -> Effects:
        return self.turn((event,), now)

    def turn(self, events: Sequence[Any], now: Now) -> Effects:
        """A step for each event, in order, as one batch: their writes together, and what can travel together in one
        message. At most TURN_EVENTS_MAX events.
        """
        effects: list[Effect] = []
        writes: list[Put | Drop] = []
        for event in events:
            effects += self._one(event, writes, now)
        return self._finish(effects, writes, now)

    def _one(self, event: Any, writes: list[Put | Drop], now: Now) -> Iterable[Effect]:
        match event:
            case Received(message=Acknowledge(message_ids=ids)):
                writes += self._acknowledged(ids, event.sender)
                return ()
            case Received() if type_of(event.message).durable:
                return self._durable(event, writes, now)
            case TimerFired(name="deliver"):
                return self._repeat(event, writes, now)
            case Received(message=Poll(number=number), sender=client):
                return (self._poll(client, number, event.message_id, now),)
            case PeerSeen(node=node) | PeerReached(node=node):
                self._hurry(node, now)
        return self.machine.step(event, now)

    def check(self) -> None:
        self.machine.check()
        assert len(self._inbox) <= INBOX_ROWS_MAX
        assert sum(self._per_peer.values()) == len(self._outbox)

    def snapshot(self) -> CourierSnapshot:
        return CourierSnapshot(
            waiting=len(self._outbox),
            remembered=len(self._inbox),
            expired=self._expired,
            inner=self.machine.snapshot(),
        )

    # --- inward ----------------------------------------------------------------------------------

    def _durable(self, event: Received, writes: list[Put | Drop], now: Now) -> Iterable[Effect]:
        acknowledge = Send(
            message=Acknowledge(type=type_of(event.message).number, message_ids=(event.message_id,)),
            to=event.sender,
            reply_to=event.message_id,
        )
        identity = event.sender + event.message_id  # a peer that guesses another's id must not stand in its way
        if identity in self._inbox:
            return (acknowledge,)
        if not getattr(self.machine, "awake", True):
            return ()  # not yet able to judge it after a start; the sender repeats it
        effects = self.machine.step(event, now)
        row = Put(kind=kinds.INBOX, key=self._prefix + identity, value=now.wall_ms.to_bytes(8))
        self._inbox[identity] = now.wall_ms
        writes += (row, *self._forget_oldest(now))
        return (*effects, acknowledge)

    def _forget_oldest(self, now: Now) -> list[Drop]:
        """Ids are kept as long as any copy may live; beyond the limit the oldest leave first. Amortised constant."""
        dropped = []
        while self._inbox:
            oldest = next(iter(self._inbox))
            if len(self._inbox) <= INBOX_ROWS_MAX and now.wall_ms - self._inbox[oldest] <= INBOX_KEEP_MS:
                break
            del self._inbox[oldest]
            dropped.append(Drop(kind=kinds.INBOX, key=self._prefix + oldest))
        return dropped

    # --- outward ---------------------------------------------------------------------------------

    def _finish(self, effects: Iterable[Effect], writes: list[Put | Drop], now: Now) -> Effects:
        """Combines what can be; gives every durable message its id and its outbox row, and sets the one timer of the
        outbox.
        """
        out: list[Effect] = []
        for effect in combine_effects(effects):
            if isinstance(effect, Send) and effect.to and not effect.message_id and type_of(effect.message).durable:
                out.append(self._dispatch(effect, writes, now))
            else:
                out.append(effect)
        if len(out) > STEP_EFFECTS_MAX:
            raise RuntimeError(f"{self._owner} made {len(out)} effects in one step")
        others = [effect for effect in out if not isinstance(effect, Persist)]
        persisted = (effect.writes for effect in out if isinstance(effect, Persist))
        batch = combine_writes(chain(writes, *persisted))
        return (*((Persist(writes=batch),) if batch else ()), *others, *self._schedule())

    def _dispatch(self, send: Send, writes: list[Put | Drop], now: Now) -> Effect:
        body = encode_record(send.message)
        bytes_waiting = self._bytes_per_peer.get(send.to, 0) + len(body)
        if self._per_peer.get(send.to, 0) >= OUTBOX_ROWS_PER_PEER_MAX or bytes_waiting > OUTBOX_BYTES_PER_PEER_MAX:
            return Refuse(code=Code.BUSY, sentence="too many messages wait for a peer that does not acknowledge")
        self._counter += 1
        entry = type_of(send.message)
        identified = msgspec.structs.replace(
            send,
            message_id=message_id(
                self._own_id, send.to, self._boot_id, f"{self._owner}/{self._incarnation}", self._counter
            ),
        )
        expires_ms = now.wall_ms + entry.ttl_ms
        row = OutboxRow(
            to=send.to,
            type=entry.number,
            body=body,
            project=send.project,
            fence=send.fence,
            expires_ms=expires_ms,
        )
        writes.append(Put(kind=kinds.OUTBOX, key=self._prefix + identified.message_id, value=encode_record(row)))
        self._add(identified, len(body), expires_ms, now.after_ms(RETRY_MS_MIN))
        return identified

    def _add(self, send: Send, body_bytes: int, expires_ms: int, due_ns: int) -> None:
        self._outbox[send.message_id] = _Waiting(send, body_bytes, expires_ms, due_ns)
        self._per_peer[send.to] = self._per_peer.get(send.to, 0) + 1
        self._bytes_per_peer[send.to] = self._bytes_per_peer.get(send.to, 0) + body_bytes

    def _remove(self, identity: bytes) -> Drop:
        waiting = self._outbox.pop(identity)
        left = self._per_peer[waiting.send.to] - 1
        if left:
            self._per_peer[waiting.send.to] = left
            self._bytes_per_peer[waiting.send.to] -= waiting.body_bytes
        else:
            del self._per_peer[waiting.send.to], self._bytes_per_peer[waiting.send.to]
            self._hurried_ns.pop(waiting.send.to, None)
        return Drop(kind=kinds.OUTBOX, key=self._prefix + identity)

    def _acknowledged(self, ids: tuple[bytes, ...], sender: bytes) -> list[Drop]:
        """Only the addressee acknowledges: another peer's word about the same id changes nothing."""
        return [
            self._remove(identity)
            for identity in dict.fromkeys(ids)
            if identity in self._outbox and self._outbox[identity].send.to == sender
        ]

    def _repeat(self, event: TimerFired, writes: list[Put | Drop], now: Now) -> Iterable[Effect]:
        if event.generation != self._timer_generation:
            return ()
        self._timer_at_ns = 0
        sends: list[Effect] = []
        for identity, waiting in list(self._outbox.items()):
            if now.wall_ms > waiting.expires_ms:
                self._expired += 1
                writes.append(self._remove(identity))
            elif waiting.due_ns <= now.boot_ns:
                waiting.attempts += 1
                waiting.due_ns = now.after_ms(self._pause_ms(identity, waiting.attempts))
                sends.append(waiting.send)
        return sends

    def _pause_ms(self, identity: bytes, attempts: int) -> int:
        """Doubling, with ±20 % from a hash instead of chance, so that peers do not repeat in step."""
        pause = min(RETRY_MS_MAX, RETRY_MS_MIN * (1 << min(attempts - 1, 16)))
        spread = hashlib.sha256(identity + attempts.to_bytes(4)).digest()[0]
        return pause * (205 + spread * 2 // 5) // 256

    def _hurry(self, node: bytes, now: Now) -> None:
        """A peer is back within reach: what waits for it is sent at the next tick. One that says so all the time gets
        it no sooner.
        """
        since_ns = now.boot_ns - self._hurried_ns.get(node, -(2**62))
        if node not in self._per_peer or since_ns < HURRY_MS_MIN * 1_000_000:
            return
        self._hurried_ns[node] = now.boot_ns
        for waiting in self._outbox.values():
            if waiting.send.to == node:
                waiting.due_ns, waiting.attempts = now.boot_ns, 1
                self._timer_at_ns = 0

    def _poll(self, client: bytes, number: int, message_id: bytes, now: Now) -> Send:
        """What waits for a client that asks is sent at once, whatever was tried while it could not be reached."""
        self._hurry(client, now)
        polled = Polled(number=number, waiting=self._per_peer.get(client, 0))
        return Send(message=polled, to=client, reply_to=message_id)

    def _schedule(self) -> Effects:
        """One timer for the whole outbox. While it is set nothing can be due earlier, so that a step stays cheap."""
        if self._timer_at_ns or not self._outbox:
            return ()
        self._timer_generation += 1
        self._timer_at_ns = due = min(waiting.due_ns for waiting in self._outbox.values())
        return (SetTimer(name=TIMER, at_ns=due, generation=self._timer_generation),)

    def _restore(self, identity: bytes, value: bytes) -> None:
        row = decode_record(value, OutboxRow, bytes_max=RECORD_BYTES_MAX)
        message = decode_record(row.body, BY_NUMBER[row.type].record, bytes_max=RECORD_BYTES_MAX)
        send = Send(message=message, to=row.to, project=row.project, fence=row.fence, message_id=identity)
        self._add(send, len(row.body), row.expires_ms, 0)
