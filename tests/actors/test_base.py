"""The facts of `test_pykka_facts.py`, closed."""

from __future__ import annotations

import threading

import pytest

from actors.base import ActorHandle, ChildAlive, ChildEnded, ChildFailed, ChildReady, Ping
from protocol.errors import Code, LocalProtocolError
from protocol.limits import INBOX_MESSAGES_MAX
from tests.actors.tree import LIMIT_S, Puppet, alone, crash

CRASHES = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit]


def raising(exception: type[BaseException]) -> object:
    def act(puppet: Puppet) -> None:
        raise exception("on purpose")

    return act


def test_an_actor_begins_is_ready_ends_once_and_tells_each_to_its_supervisor() -> None:
    with alone() as one:
        assert one.next_told() == ChildReady("one", 1)
        one.ref.stop(block=False)
        assert one.next_told() == ChildEnded("one", 1)
        assert one.journal.entries() == ["begin one", "end one"]


def test_readiness_may_come_with_a_later_message() -> None:
    with alone(begin=lambda puppet: None) as one:
        one.handle.tell(lambda puppet: puppet.note("later"))
        one.handle.tell(lambda puppet: puppet.ready())
        assert one.next_told() == ChildReady("one", 1)
        assert one.journal.entries() == ["begin one", "later one"]


@pytest.mark.parametrize("exception", CRASHES)
def test_any_exception_under_tell_is_the_crash_of_this_actor_alone(exception: type[BaseException]) -> None:
    with alone() as bystander, alone() as one:
        assert isinstance(one.next_told(), ChildReady)
        one.handle.tell(raising(exception))
        failed = one.next_told()
        assert isinstance(failed, ChildFailed)
        assert (failed.name, failed.generation, type(failed.error)) == ("one", 1, exception)
        assert failed.message == "function" and "on purpose" in failed.story and "Traceback" in failed.story
        assert one.journal.entries() == ["begin one", "end one"]
        assert bystander.ref.is_alive()


@pytest.mark.parametrize("exception", CRASHES)
def test_an_exception_under_ask_crashes_too_and_the_asker_hears_of_it(exception: type[BaseException]) -> None:
    with alone() as one:
        with pytest.raises(LocalProtocolError) as caught:
            one.ref.ask(raising(exception), timeout=LIMIT_S)
        assert caught.value.code is Code.ACTOR_FAILED
        assert isinstance(one.next_told(), ChildReady) and isinstance(one.next_told(), ChildFailed)
        assert not one.ref.is_alive()


def test_a_crash_in_begin_is_told_and_still_ends() -> None:
    with alone(begin=crash) as one:
        failed = one.next_told()
        assert isinstance(failed, ChildFailed) and failed.message == "Begin"
        assert one.journal.entries() == ["begin one", "end one"]


@pytest.mark.parametrize("exception", CRASHES)
def test_a_crash_in_end_is_told(exception: type[BaseException]) -> None:
    with alone(end=raising(exception)) as one:  # type: ignore[arg-type]
        one.ref.stop(block=False)
        assert isinstance(one.next_told(), ChildReady)
        failed = one.next_told()
        assert isinstance(failed, ChildFailed) and failed.message == "" and type(failed.error) is exception


def test_after_a_crash_in_end_following_a_crash_the_first_is_told() -> None:
    with alone(begin=crash, end=raising(KeyError)) as one:  # type: ignore[arg-type]
        failed = one.next_told()
        assert isinstance(failed, ChildFailed) and type(failed.error) is ValueError


def test_the_supervisor_is_told_only_after_the_actor_has_released_everything() -> None:
    let_go = threading.Event()

    def hold(puppet: Puppet) -> None:
        let_go.wait(LIMIT_S)

    with alone(end=hold) as one:
        assert isinstance(one.next_told(), ChildReady)
        one.handle.tell(crash)
        one.journal.wait_for("end one")
        assert one.told.empty() and not one.context.ended.is_set()
        let_go.set()
        assert isinstance(one.next_told(), ChildFailed) and one.context.ended.is_set()


def test_messages_behind_a_crash_are_not_handled_and_later_ones_are_refused() -> None:
    go = threading.Event()

    def crash_when_told(puppet: Puppet) -> None:
        go.wait(LIMIT_S)
        raise ValueError

    with alone() as one:
        one.handle.tell(crash_when_told)
        for _ in range(100):
            assert one.handle.tell(lambda puppet: puppet.note("never"))
        go.set()
        assert isinstance(one.next_told(), ChildReady) and isinstance(one.next_told(), ChildFailed)
        assert not one.handle.tell(lambda puppet: puppet.note("never")) and one.handle.refused == 1
        assert one.journal.entries() == ["begin one", "end one"]


def test_a_full_inbox_refuses_tells_yet_answers_pings_and_stops() -> None:
    go = threading.Event()
    with alone() as one:
        assert isinstance(one.next_told(), ChildReady)
        one.handle.tell(lambda puppet: (puppet.note("busy"), go.wait(LIMIT_S)))
        one.journal.wait_for("busy one")
        admitted = sum(one.handle.tell(lambda puppet: None) for _ in range(INBOX_MESSAGES_MAX + 5))
        assert (admitted, one.handle.refused) == (INBOX_MESSAGES_MAX, 5)
        assert one.handle.tell(Ping())
        one.ref.stop(block=False)
        go.set()
        assert one.next_told() == ChildAlive("one", 1)
        assert one.next_told() == ChildEnded("one", 1)


def test_a_handle_without_an_actor_refuses_and_counts() -> None:
    handle = ActorHandle("nobody")
    assert not handle.tell("message") and handle.refused == 1
