"""Delivery: repeated until the addressee acknowledges, applied once, nothing lost by a crash."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from protocol import kinds
from protocol.errors import Code
from protocol.limits import (
    FRAME_TTL_MS_MAX,
    HURRY_MS_MIN,
    INBOX_KEEP_MS,
    OUTBOX_BYTES_PER_PEER_MAX,
    OUTBOX_ROWS_PER_PEER_MAX,
    RETRY_MS_MAX,
    RETRY_MS_MIN,
)
from protocol.machines.contract import (
    Drop,
    Effect,
    Effects,
    LogJob,
    Now,
    Persist,
    Put,
    Send,
    SetTimer,
    TimerFired,
)
from protocol.machines.delivery import Courier
from protocol.machines.events import PeerSeen
from protocol.record import Record
from protocol.wire.jobs import Renew, Renewed, Stop
from protocol.wire.peers import Acknowledge, Poll, Polled
from tests.protocol.builders import WALL_MS, messages, now, received, refusals, sends, writes

OWN, PEER, OTHER = b"o" * 32, b"p" * 32, b"x" * 32
STOP = Stop(job_id=b"j" * 32)
NUMBER = 42  # of Stop


class Say(Record, frozen=True):
    """Makes the machine send."""

    messages: int = 1
    to: bytes = PEER


class Cancelling(Record, frozen=True):
    """Makes the machine send one message of about so many bytes."""

    size_bytes: int
    to: bytes = PEER


class Empty(Record, frozen=True):
    pass


class Talker:
    """A machine that sends as it is told and writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def step(self, event: Any, at: Now) -> Effects:
        if isinstance(event, Say):
            stops = (Send(message=STOP, to=event.to, fence=3) for _ in range(event.messages))
            return (*stops, Persist(writes=(LogJob(job_id=b"j" * 32, wall_ms=at.wall_ms, event="said"),)))
        if isinstance(event, Cancelling):
            return (Send(message=Stop(job_id=b"j" * 32, cancel=bytes(event.size_bytes)), to=event.to),)
        self.heard.append(event)
        return (Persist(writes=(LogJob(job_id=b"j" * 32, wall_ms=at.wall_ms, event="heard"),)),)

    def check(self) -> None:
        pass

    def snapshot(self) -> Record:
        return Empty()


class Rows:
    """The rows that a courier has written."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {kinds.OUTBOX: {}, kinds.INBOX: {}}

    def apply(self, effects: Effects) -> Effects:
        for write in writes(effects):
            if isinstance(write, Put):
                self.tables[write.kind][write.key] = write.value
            elif isinstance(write, Drop):
                del self.tables[write.kind][write.key]
        return effects

    def load(self) -> dict[str, list[tuple[bytes, bytes]]]:
        return {kind: sorted(table.items()) for kind, table in self.tables.items()}


def courier(rows: Rows | None = None, incarnation: int = 1, owner: str = "talker") -> Courier:
    return Courier(Talker(), owner, OWN, 1, incarnation, rows.load() if rows else {})


def timer(effects: Effects) -> SetTimer | None:
    return next((one for one in effects if isinstance(one, SetTimer)), None)


def acknowledged(sent: Send, sender: bytes = PEER) -> Any:
    return received(Acknowledge(type=NUMBER, message_ids=(sent.message_id,)), sender)


def fire(machine: Courier, set_timer: SetTimer) -> tuple[Now, Effects]:
    at = Now(set_timer.at_ns, WALL_MS + (set_timer.at_ns - now().boot_ns) // 1_000_000)
    effects = machine.step(TimerFired(name=set_timer.name, generation=set_timer.generation), at)
    machine.check()
    return at, effects


def test_writes_of_a_step_are_one_batch_in_front() -> None:
    effects = courier().step(Say(messages=2), now())
    assert isinstance(effects[0], Persist) and not [one for one in effects[1:] if isinstance(one, Persist)]
    assert [type(write) for write in effects[0].writes] == [Put, Put, LogJob]
    effects = courier().step(received(STOP, PEER), now())
    assert [type(write) for write in writes(effects[:1])] == [Put, LogJob]


def test_a_message_is_repeated_with_growing_pauses_until_it_is_acknowledged() -> None:
    machine = courier()
    effects = machine.step(Say(), now())
    (first,) = sends(effects)
    pauses = []
    before, set_timer = now(), timer(effects)
    for _ in range(12):
        assert set_timer is not None
        at, effects = fire(machine, set_timer)
        assert sends(effects) == [first]  # the same id, fence and content
        pauses.append((at.boot_ns - before.boot_ns) / 1e6)
        before, set_timer = at, timer(effects)
    assert abs(pauses[0] - RETRY_MS_MIN) < 1
    assert all(RETRY_MS_MIN * 0.79 <= pause <= RETRY_MS_MAX * 1.21 for pause in pauses)
    assert all(later > 1.2 * earlier for earlier, later in pairwise(pauses[1:5]))
    assert len(set(pauses[-4:])) == 4  # peers do not repeat in step
    (drop,) = writes(machine.step(acknowledged(first), before))
    assert isinstance(drop, Drop)
    assert set_timer is not None
    assert fire(machine, set_timer)[1] == ()


def test_only_the_addressee_acknowledges() -> None:
    machine = courier()
    (sent,) = sends(machine.step(Say(), now()))
    assert machine.step(acknowledged(sent, OTHER), now()) == ()
    assert machine.snapshot().waiting == 1
    machine.step(acknowledged(sent), now())
    assert machine.snapshot().waiting == 0
    assert machine.step(acknowledged(sent), now()) == ()


def test_a_copy_is_acknowledged_again_and_has_no_effect() -> None:
    machine = courier()
    first = machine.step(received(STOP, PEER), now())
    again = machine.step(received(STOP, PEER), now(5))
    assert messages(first, Acknowledge) == messages(again) == [Acknowledge(type=NUMBER, message_ids=(b"m" * 16,))]
    assert not writes(again) and len(machine.machine.heard) == 1  # type: ignore[attr-defined]


def test_a_peer_that_guesses_the_id_of_anothers_message_does_not_hold_it_up() -> None:
    machine = courier()
    machine.step(received(STOP, OTHER), now())
    machine.step(received(STOP, PEER), now())
    assert [one.sender for one in machine.machine.heard] == [OTHER, PEER]  # type: ignore[attr-defined]


def test_a_machine_that_is_not_awake_leaves_a_message_unacknowledged() -> None:
    machine = courier()
    machine.machine.awake = False  # type: ignore[attr-defined]
    assert machine.step(received(STOP, PEER), now()) == ()
    machine.machine.awake = True  # type: ignore[attr-defined]
    assert messages(machine.step(received(STOP, PEER), now()), Acknowledge)


def test_after_a_crash_what_was_committed_is_sent_again_and_what_was_applied_is_not_applied_again() -> None:
    rows = Rows()
    first = courier(rows)
    sent = sends(rows.apply(first.step(Say(messages=3), now())))
    rows.apply(first.step(received(STOP, PEER), now()))
    rows.apply(first.step(acknowledged(sent[1]), now()))
    second = courier(rows, incarnation=2)
    second.check()
    set_timer = timer(second.begin(now(1)))
    assert set_timer is not None and set_timer.at_ns == now(1).boot_ns
    again = sends(fire(second, set_timer)[1])
    assert {one.message_id for one in again} == {sent[0].message_id, sent[2].message_id}
    assert again[0].message == STOP and again[0].fence == 3
    second.step(received(STOP, PEER), now(2))
    assert second.machine.heard == []  # type: ignore[attr-defined]


def test_rows_of_another_machine_are_left_alone() -> None:
    rows = Rows()
    rows.apply(courier(rows).step(Say(), now()))
    assert courier(rows, owner="other").snapshot().waiting == 0


def test_no_message_id_is_used_twice_across_messages_peers_owners_and_incarnations() -> None:
    sent: list[bytes] = []
    for owner in ("talker", "other"):
        for incarnation in (1, 2, 3):
            machine = courier(None, incarnation, owner)
            for to in (PEER, OTHER):
                sent += [one.message_id for one in sends(machine.step(Say(messages=5, to=to), now()))]
    assert len(set(sent)) == len(sent) == 60


def test_beyond_the_outbox_limit_of_one_peer_the_producer_is_told_busy_and_others_are_served() -> None:
    machine = courier()
    machine.step(Say(messages=OUTBOX_ROWS_PER_PEER_MAX), now())
    full = machine.step(Say(), now())
    assert refusals(full) == [Code.BUSY] and not sends(full)
    assert sends(machine.step(Say(to=OTHER), now()))
    machine.check()
    assert machine.snapshot().waiting == OUTBOX_ROWS_PER_PEER_MAX + 1


def test_an_outbox_is_bounded_in_bytes_too_and_an_acknowledgement_makes_room() -> None:
    machine = courier()
    wide = Cancelling(size_bytes=OUTBOX_BYTES_PER_PEER_MAX // 2)
    (first,) = sends(machine.step(wide, now()))
    assert refusals(machine.step(wide, now())) == [Code.BUSY]
    assert sends(machine.step(msgspec.structs.replace(wide, to=OTHER), now()))
    machine.step(received(Acknowledge(type=NUMBER, message_ids=(first.message_id,)), PEER), now())
    assert sends(machine.step(wide, now()))
    machine.check()


def test_a_message_that_nobody_took_within_its_life_is_given_up_and_counted() -> None:
    rows = Rows()
    machine = courier()
    set_timer = timer(rows.apply(machine.step(Say(), now())))
    assert set_timer is not None
    late = Now(set_timer.at_ns, WALL_MS + FRAME_TTL_MS_MAX + 1)
    effects = machine.step(TimerFired(name=set_timer.name, generation=set_timer.generation), late)
    rows.apply(effects)
    assert not sends(effects) and rows.tables[kinds.OUTBOX] == {}
    assert (machine.snapshot().waiting, machine.snapshot().expired) == (0, 1)


def test_a_peer_back_within_reach_gets_its_messages_at_once() -> None:
    machine = courier()
    set_timer = timer(machine.step(Say(), now()))
    for _ in range(6):
        assert set_timer is not None
        at, effects = fire(machine, set_timer)
        set_timer = timer(effects)
    effects = machine.step(PeerSeen(node=PEER, name="p", sources=()), at)
    hurried = timer(effects)
    assert hurried is not None and hurried.at_ns == at.boot_ns
    assert sends(fire(machine, hurried)[1])
    assert set_timer is not None
    assert fire(machine, set_timer)[1] == ()  # the timer that was set before is stale


def test_whoever_polls_all_the_time_is_sent_no_more_copies_for_it() -> None:
    machine = courier()
    set_timer = timer(machine.step(Say(), now()))
    copies, at = 0, now()
    for ms in range(0, 20_000, 10):
        while set_timer is not None and set_timer.at_ns <= now(ms).boot_ns:
            at, effects = fire(machine, set_timer)
            copies += len(sends(effects, Stop))
            set_timer = timer(effects)
        polled = machine.step(received(Poll(number=1), PEER), max(at, now(ms), key=lambda one: one.boot_ns))
        assert len(messages(polled, Polled)) == 1
        set_timer = timer(polled) or set_timer
    assert 20_000 // HURRY_MS_MIN <= copies <= 3 * 20_000 // HURRY_MS_MIN


def test_the_inbox_forgets_ids_when_no_copy_can_live_any_more_oldest_first_also_after_a_restart() -> None:
    rows = Rows()
    machine = courier()
    for number in range(5):
        identity = (255 - number).to_bytes(16)  # the order of keys is not the order of time
        rows.apply(machine.step(received(STOP, PEER, message_id=identity), now(number)))
    machine = courier(rows, 2)
    rows.apply(machine.step(received(STOP, PEER), now(INBOX_KEEP_MS + 3)))
    assert machine.snapshot().remembered == 3 == len(rows.tables[kinds.INBOX])


def test_what_is_not_durable_passes_by() -> None:
    machine = courier()
    effects: list[Effect] = list(machine.step(received(Renewed(job_id=b"j" * 32, token=1), PEER), now()))
    assert not messages(tuple(effects), Acknowledge)
    renew = received(Renew(job_id=b"j" * 32, indexes=(), token=1), PEER)
    machine.step(renew, now())
    machine.step(renew, now())
    assert len(machine.machine.heard) == 3  # type: ignore[attr-defined]
