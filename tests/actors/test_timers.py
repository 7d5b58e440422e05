from __future__ import annotations

import threading

import pytest

from actors.adapters.clock import SystemClock
from actors.inbox import Inbox
from actors.timers import TimerService
from protocol.errors import LocalProtocolError
from protocol.machines.contract import Now, TimerFired
from tests.actors.tree import LIMIT_S, box, timers_running

CLOCK = SystemClock()
HOUR_MS = 3_600_000


def in_ms(ms: int) -> int:
    return CLOCK.now().after_ms(ms)


def test_timers_fire_in_the_order_of_their_times_and_carry_their_generation() -> None:
    handle, inbox = box()
    with timers_running() as timers:
        timers.set(handle, "late", in_ms(30), generation=2)
        timers.set(handle, "early", in_ms(10), generation=1)
        assert inbox.take(LIMIT_S) == TimerFired(name="early", generation=1)
        assert inbox.take(LIMIT_S) == TimerFired(name="late", generation=2)


def test_no_timer_fires_before_its_time() -> None:
    handle, inbox = box()
    with timers_running() as timers:
        at_ns = in_ms(25)
        timers.set(handle, "t", at_ns)
        assert inbox.take(LIMIT_S) is not None
        assert CLOCK.now().boot_ns >= at_ns


def test_a_newer_timer_of_the_same_name_replaces_the_older() -> None:
    handle, inbox = box()
    with timers_running() as timers:
        timers.set(handle, "t", in_ms(HOUR_MS), generation=1)
        timers.set(handle, "t", in_ms(5), generation=2)
        timers.set(handle, "barrier", in_ms(15))
        assert inbox.take(LIMIT_S) == TimerFired(name="t", generation=2)
        assert inbox.take(LIMIT_S) == TimerFired(name="barrier")


def test_a_cleared_timer_does_not_fire_and_clearing_again_is_no_fault() -> None:
    handle, inbox = box()
    with timers_running() as timers:
        timers.set(handle, "t", in_ms(10))
        timers.clear(handle, "t")
        timers.clear(handle, "t")
        timers.set(handle, "barrier", in_ms(20))
        assert inbox.take(LIMIT_S) == TimerFired(name="barrier")


def test_clear_all_forgets_the_timers_of_one_owner_only() -> None:
    (mine, my_inbox), (other, other_inbox) = box(), box()
    with timers_running() as timers:
        timers.set(mine, "t", in_ms(10))
        timers.set(other, "t", in_ms(10))
        timers.clear_all(mine)
        timers.set(mine, "barrier", in_ms(20))
        assert other_inbox.take(LIMIT_S) == TimerFired(name="t")
        assert my_inbox.take(LIMIT_S) == TimerFired(name="barrier")


def test_beyond_the_limit_a_timer_is_refused_but_replacing_one_is_not() -> None:
    handle, _ = box()
    timers = TimerService(CLOCK, limit=2)
    timers.set(handle, "a", in_ms(HOUR_MS))
    timers.set(handle, "b", in_ms(HOUR_MS))
    timers.set(handle, "a", in_ms(HOUR_MS))
    with pytest.raises(LocalProtocolError, match="c"):
        timers.set(handle, "c", in_ms(HOUR_MS))


def test_replacing_a_timer_for_ever_does_not_grow_the_heap() -> None:
    handle, _ = box()
    timers = TimerService(CLOCK)
    for generation in range(10_000):
        timers.set(handle, "renewal", in_ms(HOUR_MS), generation)
    assert len(timers._heap) <= 65


def test_a_full_inbox_still_gets_its_timer() -> None:
    handle, _ = box()
    inbox = Inbox(limit=1)
    handle.attach(inbox)
    handle.tell("data")
    with timers_running() as timers:
        timers.set(handle, "t", in_ms(0))
        other, other_inbox = box()
        timers.set(other, "barrier", in_ms(1))
        assert other_inbox.take(LIMIT_S) == TimerFired(name="barrier")
    assert [inbox.take(0), inbox.take(0)] == ["data", TimerFired(name="t")]


def test_a_clock_that_leaps_while_the_thread_waits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspend: the boot clock goes on, the waits of the operating system do not."""

    class LeapingClock:
        ns = 0
        read = threading.Event()

        def now(self) -> Now:
            self.read.set()
            return Now(self.ns, 0)

    monkeypatch.setattr("actors.timers.TIMER_SLEEP_MS_MAX", 10)
    clock = LeapingClock()
    handle, inbox = box()
    timers = TimerService(clock)
    timers.set(handle, "t", HOUR_MS * 1_000_000)
    timers.start()
    assert clock.read.wait(LIMIT_S)
    clock.ns = HOUR_MS * 1_000_000
    assert inbox.take(LIMIT_S) == TimerFired(name="t")
    timers.stop()


def test_the_clock_is_the_boot_clock_and_the_wall_clock() -> None:
    first, second = CLOCK.now(), CLOCK.now()
    assert 0 < first.boot_ns <= second.boot_ns
    assert first.wall_ms > 1_700_000_000_000
