"""The transaction rule: nothing is performed before its batch is committed, and all in the order of the steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from actors.adapters.clock import SystemClock
from actors.base import ActorHandle
from actors.child_spec import ChildSpec
from actors.inbox import Inbox
from actors.machine_shell import MachineActor, Rows
from actors.messages import (
    Commit,
    CommitRefused,
    Committed,
    Load,
    Loaded,
    ResourceFetched,
    Snapshot,
    SnapshotWanted,
    TaskWanted,
)
from protocol.errors import Code, RemoteProtocolError, StorageError
from protocol.machines.contract import (
    ClearTimer,
    Effect,
    Effects,
    KillTask,
    Now,
    Persist,
    Publish,
    Put,
    Refuse,
    Send,
    SetTimer,
    TimerFired,
)
from protocol.machines.events import Outgoing, ResourceFound
from protocol.record import Record
from tests.actors.tree import LIMIT_S, Journal, Tree, box, timers_running, tree


class Do(Record, frozen=True):
    """An event whose effects are the machine's answer."""

    effects: tuple[Effect, ...]


class Scripted:
    """A machine that does what its events say, and notes them."""

    def __init__(self, rows: Rows, journal: Journal, begin: Effects) -> None:
        self._journal = journal
        self._begin = begin
        journal.add(("rows", rows))

    def begin(self, now: Now) -> Effects:
        return self._begin

    def step(self, event: Any, now: Now) -> Effects:
        self._journal.add(event)
        if isinstance(event, Do):
            return event.effects
        if isinstance(event, Exception):
            raise event
        return ()

    def check(self) -> None:
        pass

    def snapshot(self) -> Record:
        return Record()


class Turning(Scripted):
    """The same, but it takes what waits together as one turn. An event of threading holds it until it is set."""

    def turn(self, events: Sequence[Any], now: Now) -> Effects:
        for event in events:
            if isinstance(event, threading.Event):
                assert event.wait(LIMIT_S)
        return tuple(effect for event in events for effect in self.step(event, now))


def write(value: bytes) -> Persist:
    return Persist(writes=(Put(kind="job", key=b"k", value=value),))


def send(text: str) -> Send:
    return Send(message=text, to=b"n" * 32)


@dataclass
class World:
    """A machine actor, and the test as its store, gate and runner."""

    handle: ActorHandle
    store: Inbox
    gate: Inbox
    runner: Inbox
    published: Journal
    journal: Journal
    tree: Tree

    def next_load(self) -> Load:
        load = self.store.take(LIMIT_S)
        assert isinstance(load, Load)
        return load

    def load(self, rows: Rows | None = None) -> Load:
        load = self.next_load()
        answer(load, rows)
        return load

    def next_commit(self) -> Commit:
        commit = self.store.take(LIMIT_S)
        assert isinstance(commit, Commit)
        return commit

    def do(self, *effects: Effect) -> None:
        assert self.handle.tell(Do(effects=effects))

    def settle(self) -> None:
        """Wait until the machine has taken everything so far."""
        marker = object()
        self.handle.tell(marker)
        self.journal.wait_for(marker)

    def sent(self) -> Any:
        outgoing = self.gate.take(LIMIT_S)
        assert isinstance(outgoing, Outgoing)
        return outgoing.send.message


def answer(load: Load, rows: Rows | None = None) -> None:
    load.reply_to.tell(Loaded(ticket=load.ticket, rows=rows or {"job": []}))


def confirm(commit: Commit) -> None:
    commit.reply_to.tell(Committed(ticket=commit.ticket))


def refuse(commit: Commit) -> None:
    commit.reply_to.tell(CommitRefused(ticket=commit.ticket, error=StorageError(Code.DISK_FULL, "The disk is full.")))


@contextmanager
def world(begin: Effects = (), machine: type[Scripted] = Scripted, **options: Any) -> Iterator[World]:
    (store, store_inbox), (gate, gate_inbox), (runner, runner_inbox) = (
        box("store"),
        box("gate"),
        box("runner"),
    )
    published, journal, clock = Journal(), Journal(), SystemClock()
    with timers_running() as timers:
        spec = ChildSpec(
            "machine",
            lambda context: MachineActor.start(
                context,
                lambda rows: machine(rows, journal, begin),
                ("job",),
                store=store,
                gate=gate,
                publish=published.add,
                clock=clock,
                timers=timers,
                runner=runner,
            ),
            **options,
        )
        with tree([spec], ready=False, timers=timers) as running:
            yield World(spec.handle, store_inbox, gate_inbox, runner_inbox, published, journal, running)


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.child_spec.RESTART_BACKOFF_MS_MIN", 5)


def test_the_machine_is_built_from_its_rows_and_then_the_actor_is_ready() -> None:
    with world() as it:
        rows: Rows = {"job": [(b"k", b"v")]}
        assert it.load(rows).kinds == ("job",)
        it.tree.root.wait_ready()
        assert it.journal.entries() == [("rows", rows)]


def test_events_that_come_before_the_rows_wait_for_them() -> None:
    with world() as it:
        load = it.next_load()
        it.do(send("early"))
        answer(load)
        assert it.sent() == "early"


def test_the_effects_of_begin_come_first_and_readiness_after_them() -> None:
    with world(begin=(write(b"epoch"), send("hello"))) as it:
        load = it.next_load()
        it.do(send("early"))
        answer(load)
        commit = it.next_commit()
        it.settle()
        assert it.gate.empty() and not it.tree.root._edge.settled.is_set()
        confirm(commit)
        it.tree.root.wait_ready()
        assert [it.sent(), it.sent()] == ["hello", "early"]


def test_all_writes_of_a_step_are_one_batch_and_nothing_is_performed_before_it_is_committed() -> None:
    with world() as it:
        it.load()
        it.do(send("one"), write(b"1"), Publish(event="news"), write(b"2"), KillTask(key=b"task"))
        commit = it.next_commit()
        assert [put.value for put in commit.writes if isinstance(put, Put)] == [b"1", b"2"]
        it.settle()
        assert it.gate.empty() and it.runner.empty() and it.published.entries() == []
        confirm(commit)
        assert it.sent() == "one"
        assert it.published.wait(bool) == ["news"]
        assert isinstance(it.runner.take(LIMIT_S), TaskWanted)


def test_a_step_without_writes_runs_at_once_when_nothing_waits() -> None:
    with world() as it:
        it.load()
        it.do(send("at once"))
        assert it.sent() == "at once"


def test_a_step_without_writes_queues_behind_steps_that_wait_for_their_commit() -> None:
    with world() as it:
        it.load()
        it.do(write(b"1"), send("one"))
        it.do(send("two"))
        it.do(write(b"3"), send("three"))
        it.do(send("four"))
        first, second = it.next_commit(), it.next_commit()
        it.settle()
        assert it.gate.empty()
        confirm(first)
        assert [it.sent(), it.sent()] == ["one", "two"]
        it.settle()
        assert it.gate.empty()
        confirm(second)
        assert [it.sent(), it.sent()] == ["three", "four"]


def values(commit: Commit) -> list[bytes]:
    return [put.value for put in commit.writes if isinstance(put, Put)]


def test_events_that_wait_together_are_one_turn_and_one_commit_and_nothing_leaves_before_it() -> None:
    with world(machine=Turning) as it:
        it.load()
        busy = threading.Event()
        it.handle.tell(busy)
        it.do(write(b"1"), send("one"))
        it.do(send("two"))
        it.do(write(b"3"), send("three"))
        busy.set()
        commit = it.next_commit()
        it.settle()
        assert values(commit) == [b"1", b"3"]
        assert it.gate.empty() and it.store.empty()
        confirm(commit)
        assert [it.sent(), it.sent(), it.sent()] == ["one", "two", "three"]


def test_an_event_that_comes_alone_does_not_wait_for_another_one() -> None:
    with world(machine=Turning) as it:
        it.load()
        it.do(write(b"1"))
        assert values(it.next_commit()) == [b"1"]  # while the inbox is empty and the first commit still open
        it.do(write(b"2"))
        assert values(it.next_commit()) == [b"2"]


def test_a_turn_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.machine_shell.TURN_EVENTS_MAX", 2)
    with world(machine=Turning) as it:
        load = it.next_load()
        for number in range(5):
            it.do(write(b"%d" % number))
        answer(load)
        assert [values(it.next_commit()) for _ in range(3)] == [[b"0", b"1"], [b"2", b"3"], [b"4"]]


def test_a_refused_commit_crashes_the_actor_which_reloads_and_performs_nothing_of_it() -> None:
    with world() as it:
        it.load()
        it.do(write(b"1"), send("never"))
        refuse(it.next_commit())
        it.load({"job": [(b"k", b"stored")]})
        it.do(send("after"))
        assert it.sent() == "after"
        assert it.journal.entries().count(("rows", {"job": [(b"k", b"stored")]})) == 1


def test_an_answer_to_an_earlier_incarnation_confirms_nothing() -> None:
    with world() as it:
        it.load()
        it.do(write(b"1"), send("never"))
        stale = it.next_commit()
        it.handle.tell(RuntimeError("a bug"))
        it.load()
        it.do(write(b"2"), send("second"))
        fresh = it.next_commit()
        assert fresh.ticket != stale.ticket
        confirm(stale)
        it.settle()
        assert it.gate.empty()
        confirm(fresh)
        assert it.sent() == "second"


@pytest.mark.parametrize("bug", [RuntimeError("x"), RemoteProtocolError(Code.BODY_MALFORMED)])
def test_whatever_a_step_raises_is_a_crash(bug: Exception) -> None:
    with world(restarts_max=0) as it:
        it.load()
        it.handle.tell(bug)
        assert it.tree.fatal.wait(bool)


def test_a_commit_that_the_store_does_not_take_is_a_crash() -> None:
    with world(restarts_max=0) as it:
        it.load()
        it.tree.root.wait_ready()
        it.store.close()
        it.do(write(b"1"))
        (reason,) = it.tree.fatal.wait(bool)
        assert isinstance(reason, StorageError)


def test_a_confirmation_out_of_turn_is_a_crash() -> None:
    with world(restarts_max=0) as it:
        it.load()
        it.do(write(b"1"))
        it.do(write(b"2"))
        it.next_commit()
        confirm(it.next_commit())
        (reason,) = it.tree.fatal.wait(bool)
        assert "not of its oldest" in str(reason)


def test_timers_of_the_machine_come_back_as_its_events_and_cleared_ones_do_not() -> None:
    with world() as it:
        it.load()
        now = SystemClock().now()
        it.do(SetTimer(name="cleared", at_ns=now.after_ms(5)), ClearTimer(name="cleared"))
        it.do(SetTimer(name="lease", at_ns=now.after_ms(15), generation=3))
        fired = TimerFired(name="lease", generation=3)
        assert TimerFired(name="cleared") not in it.journal.wait_for(fired)


def test_timers_of_an_earlier_incarnation_never_reach_the_next_machine() -> None:
    with world() as it:
        it.load()
        it.do(SetTimer(name="old", at_ns=SystemClock().now().after_ms(0)))
        it.journal.wait_for(TimerFired(name="old"))
        it.do(SetTimer(name="older", at_ns=SystemClock().now().after_ms(60_000)))
        it.handle.tell(RuntimeError("a bug"))
        load = it.next_load()
        it.handle.tell(TimerFired(name="on its way"))
        answer(load)
        it.settle()
        assert TimerFired(name="on its way") not in it.journal.entries()


def test_a_refusal_goes_to_the_gate_as_it_is() -> None:
    refusal = Refuse(code=Code.BUSY, sentence="Too many.", to=b"peer", reply_to=b"id", next_step="Wait.")
    with world() as it:
        it.load()
        it.do(refusal)
        assert it.gate.take(LIMIT_S) == refusal


def test_a_snapshot_is_none_before_the_rows_and_the_machine_s_own_after_them() -> None:
    with world() as it:
        asker, answers = box("asker")
        load = it.next_load()
        it.handle.tell(SnapshotWanted(ticket=1, reply_to=asker))
        assert answers.take(LIMIT_S) == Snapshot(ticket=1, name="machine", values=None)
        answer(load)
        it.handle.tell(SnapshotWanted(ticket=2, reply_to=asker))
        assert answers.take(LIMIT_S) == Snapshot(ticket=2, name="machine", values=Record())


def test_a_fetched_resource_is_news_for_the_machine() -> None:
    with world() as it:
        it.load()
        it.handle.tell(ResourceFetched(ticket=7, data=b"data"))
        it.journal.wait_for(ResourceFound(ticket=7, data=b"data"))
