"""What Pykka does not promise, one test per fact: an upgrade that changes one is noticed, and our base can shrink."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope

from tests.actors.tree import LIMIT_S, Journal


class Bare(pykka.ThreadingActor):
    """A plain Pykka actor: a message is a function of the actor."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.journal = journal
        self.half_done = False

    def on_receive(self, message: Any) -> Any:
        return message(self)

    def on_failure(self, *_: Any) -> None:
        known = any(ref.actor_urn == self.actor_urn for ref in pykka.ActorRegistry.get_all())
        self.journal.add(("on_failure", "registered" if known else "unregistered"))

    def on_stop(self) -> None:
        self.journal.add("on_stop")


class FailsOnStart(Bare):
    def on_start(self) -> None:
        raise ValueError("on_start")

    def _actor_loop_teardown(self) -> None:
        super()._actor_loop_teardown()
        self.journal.add("over")


def half_way(actor: Bare) -> None:
    actor.half_done = True
    raise ValueError("half way")


def exit_process(actor: Bare) -> None:
    raise SystemExit(3)


def test_an_exception_under_ask_leaves_the_half_changed_actor_alive() -> None:
    ref = Bare.start(Journal())
    with pytest.raises(ValueError, match="half way"):
        ref.ask(half_way, timeout=LIMIT_S)
    assert ref.is_alive()
    assert ref.ask(lambda actor: actor.half_done, timeout=LIMIT_S) is True
    ref.stop(timeout=LIMIT_S)


def test_an_exception_under_tell_kills_the_actor_and_on_failure_finds_it_unregistered() -> None:
    journal = Journal()
    ref = Bare.start(journal)
    ref.tell(half_way)
    assert journal.wait(bool) == [("on_failure", "unregistered")]
    assert not ref.is_alive()


def test_a_failing_on_start_returns_a_ref_and_calls_neither_on_failure_nor_on_stop() -> None:
    journal = Journal()
    ref = FailsOnStart.start(journal)
    assert journal.wait_for("over") == ["over"]
    assert not ref.is_alive()


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_exit_in_one_actor_stops_all_and_leaves_the_asker_without_answer(
    exception: type[BaseException],
) -> None:
    def leave(actor: Bare) -> None:
        raise exception

    journal = Journal()
    bystander, ref = Bare.start(journal), Bare.start(Journal())
    answer = ref.ask(leave, block=False)
    journal.wait_for("on_stop")
    assert bystander.actor_stopped.wait(LIMIT_S) and ref.actor_stopped.wait(LIMIT_S)
    with pytest.raises(pykka.Timeout):
        answer.get(timeout=0.05)


def test_tells_that_wait_vanish_when_the_actor_dies_and_the_sender_sees_nothing() -> None:
    journal, go = Journal(), threading.Event()
    ref = Bare.start(journal)

    def die_when_told(actor: Bare) -> None:
        go.wait(LIMIT_S)
        raise ValueError("gone")

    ref.tell(die_when_told)
    for number in range(100):
        ref.tell(lambda actor, number=number: actor.journal.add(number))
    go.set()
    assert journal.wait(bool) == [("on_failure", "unregistered")]


def test_the_inbox_is_an_unbounded_queue() -> None:
    inbox = pykka.ThreadingActor._create_actor_inbox()
    assert isinstance(inbox, queue.Queue) and inbox.maxsize == 0


def test_an_ask_that_arrives_behind_the_stop_is_never_answered() -> None:
    """`ask` looks whether the actor lives and then puts: between the two the actor may have drained its inbox."""
    ref = Bare.start(Journal())
    ref.stop(timeout=LIMIT_S)
    answer: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
    ref.actor_inbox.put(Envelope(lambda actor: None, reply_to=answer))
    with pytest.raises(pykka.Timeout):
        answer.get(timeout=0.05)


def test_the_work_of_an_ask_that_timed_out_happens_all_the_same() -> None:
    journal, go = Journal(), threading.Event()
    ref = Bare.start(journal)

    def work_when_told(actor: Bare) -> None:
        go.wait(LIMIT_S)
        actor.journal.add("worked")

    with pytest.raises(pykka.Timeout):
        ref.ask(work_when_told, timeout=0.01)
    go.set()
    journal.wait_for("worked")
    ref.stop(timeout=LIMIT_S)


def test_messages_are_passed_by_reference() -> None:
    ref = Bare.start(Journal())
    given: list[str] = []

    def message(actor: Bare) -> list[str]:
        given.append("changed by the actor")
        return given

    assert ref.ask(message, timeout=LIMIT_S) is given == ["changed by the actor"]
    ref.stop(timeout=LIMIT_S)


def test_a_stop_waits_behind_all_messages() -> None:
    journal = Journal()
    ref = Bare.start(journal)
    go = threading.Event()
    ref.tell(lambda actor: go.wait(LIMIT_S))
    ref.tell(lambda actor: actor.journal.add("first"))
    ref.stop(block=False)
    go.set()
    assert journal.wait_for("on_stop") == ["first", "on_stop"]
