"""Real actors, supervisors and timers for tests, with journals to wait on instead of sleeping."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import pykka

from actors.adapters.clock import SystemClock
from actors.base import ActorHandle, Begin, Context, SupervisedActor
from actors.child_spec import ChildSpec
from actors.inbox import Inbox
from actors.root import Root
from actors.supervisor import Strategy
from actors.timers import TimerService

LIMIT_S: Final = 10.0  # no condition of these tests takes as long


class Journal:
    """What happened, in order, from all threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[Any] = []

    def add(self, entry: Any) -> None:
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def entries(self) -> list[Any]:
        with self._changed:
            return list(self._entries)

    def wait(self, condition: Callable[[list[Any]], bool]) -> list[Any]:
        """Wait until `condition` holds for the entries, and return them."""
        with self._changed:
            met = self._changed.wait_for(lambda: condition(self._entries), LIMIT_S)
            assert met, f"did not come to pass: {self._entries}"
            return list(self._entries)

    def wait_for(self, entry: Any, times: int = 1) -> list[Any]:
        return self.wait(lambda entries: entries.count(entry) >= times)


def box(name: str = "box") -> tuple[ActorHandle, Inbox]:
    """A handle whose messages the test itself takes."""
    handle, inbox = ActorHandle(name), Inbox()
    handle.attach(inbox)
    return handle, inbox


class Puppet(SupervisedActor):
    """Notes its life in a journal, and does what it is told: a message is a function of the actor."""

    def __init__(
        self,
        context: Context,
        journal: Journal,
        begin: Callable[[Puppet], None] = lambda puppet: puppet.ready(),
        end: Callable[[Puppet], None] = lambda puppet: None,
    ) -> None:
        super().__init__(context)
        self.journal = journal
        self._begin = begin
        self._end = end

    def note(self, what: str) -> None:
        self.journal.add(f"{what} {self.name}")

    def begin(self) -> None:
        self.note("begin")
        self._begin(self)

    def handle(self, message: Any) -> None:
        message(self)

    def end(self) -> None:
        self.note("end")
        self._end(self)


def crash(puppet: Puppet) -> None:
    raise ValueError("told to crash")


@dataclass
class Alone:
    """One actor whose supervisor is the test."""

    ref: pykka.ActorRef[Any]
    context: Context
    told: Inbox  # what the actor told its supervisor
    journal: Journal

    @property
    def handle(self) -> ActorHandle:
        return self.context.own

    def next_told(self) -> Any:
        return self.told.take(LIMIT_S)


@contextmanager
def alone(**hooks: Callable[[Puppet], None]) -> Iterator[Alone]:
    """A puppet that has been told to begin; its readiness is not awaited."""
    parent, told = box("parent")
    context, journal = Context(ActorHandle("one"), 1, parent), Journal()
    ref = Puppet.start(context, journal, **hooks)
    ref.tell(Begin())
    try:
        yield Alone(ref, context, told, journal)
    finally:
        ref.stop(block=False)
        assert context.ended.wait(LIMIT_S)


@dataclass
class Tree:
    root: Root
    fatal: Journal  # the reasons that `on_fatal` was called with


@contextmanager
def timers_running() -> Iterator[TimerService]:
    service = TimerService(SystemClock())
    service.start()
    try:
        yield service
    finally:
        service.stop()


@contextmanager
def tree(
    specs: Sequence[ChildSpec],
    strategy: Strategy = "rest_for_one",
    *,
    ready: bool = True,
    timers: TimerService | None = None,
) -> Iterator[Tree]:
    """A running tree; with `ready` its children are up. Its timers are its own unless they are given."""
    fatal, clock = Journal(), SystemClock()
    with nullcontext(timers) if timers else timers_running() as service:
        root = Root(specs, strategy=strategy, clock=clock, timers=service, on_fatal=fatal.add)
        root.start()
        try:
            if ready:
                root.wait_ready(int(LIMIT_S * 1_000))
            yield Tree(root, fatal)
        finally:
            root.stop()
