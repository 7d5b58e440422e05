"""Numbers of what was asked of the store."""

from __future__ import annotations

from protocol.limits import TICKET_MS
from protocol.machines.contract import Now
from protocol.machines.tickets import Tickets


def at(ms: int) -> Now:
    return Now(boot_ns=ms * 1_000_000, wall_ms=0)


def test_an_answer_finds_what_asked_for_it_once() -> None:
    tickets = Tickets[str](2)
    one, two = tickets.take("one", at(0)), tickets.take("two", at(1))
    assert one is not None and two is not None
    assert (tickets.pop(two), tickets.pop(one), tickets.pop(one)) == ("two", "one", None)
    assert len(tickets) == 0


def test_no_more_wait_than_there_are_places() -> None:
    tickets = Tickets[int](2)
    assert [tickets.take(n, at(n)) is None for n in range(3)] == [False, False, True]


def test_an_answer_that_never_comes_gives_its_place_back() -> None:
    tickets = Tickets[str](1)
    lost = tickets.take("lost", at(0))
    assert lost is not None
    assert tickets.take("early", at(TICKET_MS - 1)) is None
    assert tickets.take("later", at(TICKET_MS)) is not None
    assert tickets.pop(lost) is None


def test_a_number_is_never_given_twice() -> None:
    tickets = Tickets[int](1)
    assert len({tickets.take(n, at(n * TICKET_MS)) for n in range(5)}) == 5
