"""A client asks its schedulers at the heartbeat, more seldom those that are silent, and hears when one is back."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Code
from protocol.limits import POLL_BACKOFF_MS_MAX
from protocol.machines import poller
from protocol.machines.contract import Effects, SetTimer, TimerFired
from protocol.machines.events import PeerAdmitted, PeerReached
from protocol.machines.poller import Poller
from protocol.wire.peers import Poll, Polled
from tests.protocol.builders import PROJECT, news, node_key, now, received, refusals, sends

HEARTBEAT_MS = 10_000
OWN, NODE = b"o" * 32, b"n" * 32
DUE = TimerFired(name=f"poll:{NODE.hex()}")


def admitted(node: bytes = NODE, addresses: tuple[str, ...] = ("10.0.0.1:1456",)) -> PeerAdmitted:
    return PeerAdmitted(
        node=node,
        node_key=node_key(1).public_key,
        curve_key=b"c" * 32,
        seal_key=b"s" * 32,
        addresses=addresses,
        projects=(PROJECT.project_id,),
        name="north",
    )


def new_poller(heartbeat_ms: int = HEARTBEAT_MS) -> Poller:
    return Poller(OWN, heartbeat_ms)


def numbers(effects: Effects) -> list[int]:
    return [one.message.number for one in sends(effects, Poll)]


def pause_ms(effects: Effects, at_ms: int = 0) -> float:
    (timer,) = [one for one in effects if isinstance(one, SetTimer)]
    return (timer.at_ns - now(at_ms).boot_ns) / 1e6


def state(machine: Poller) -> str:
    views = machine.snapshot().schedulers
    return views[0].state if views else "unknown"


def fire(machine: Poller, event: str, number: int = 1) -> Effects:
    made: dict[str, Any] = {
        "PeerAdmitted": admitted(),
        "TimerFired": DUE,
        "Polled": received(Polled(number=number, waiting=0), NODE),
    }
    return machine.step(made[event], now())


WAYS = {"asked": ["PeerAdmitted"], "answered": ["PeerAdmitted", "Polled"], "silent": ["PeerAdmitted", "TimerFired"]}


@pytest.mark.parametrize(("before", "event"), list(product(WAYS, ("PeerAdmitted", "TimerFired", "Polled"))))
def test_a_scheduler_moves_by_the_table(before: str, event: str) -> None:
    machine = new_poller()
    for way in WAYS[before]:
        fire(machine, way)
    assert state(machine) == before
    fire(machine, event)
    machine.check()
    assert state(machine) == poller.TRANSITIONS[before][event]


def test_a_scheduler_is_asked_as_soon_as_it_is_a_peer_and_then_at_the_heartbeat() -> None:
    machine = new_poller()
    effects = machine.step(admitted(), now())
    assert numbers(effects) == [1] and sends(effects, Poll)[0].to == NODE
    assert 0.8 * HEARTBEAT_MS <= pause_ms(effects) <= 1.2 * HEARTBEAT_MS
    fire(machine, "Polled")
    effects = machine.step(DUE, now())
    assert numbers(effects) == [2]
    assert 0.8 * HEARTBEAT_MS <= pause_ms(effects) <= 1.2 * HEARTBEAT_MS


def test_a_peer_that_is_not_dialled_is_no_scheduler_of_this_client() -> None:
    machine = new_poller()
    assert machine.step(admitted(addresses=()), now()) == ()
    assert machine.snapshot().schedulers == ()


@given(heartbeat_ms=st.integers(100, 86_400_000), unanswered=st.integers(0, 40))
def test_pauses_double_while_nobody_answers_and_never_pass_the_limit(heartbeat_ms: int, unanswered: int) -> None:
    machine = new_poller(heartbeat_ms)
    effects = machine.step(admitted(), now())
    for _ in range(unanswered):
        effects = machine.step(DUE, now())
    longest_ms = max(heartbeat_ms, POLL_BACKOFF_MS_MAX)
    expected_ms = min(longest_ms, heartbeat_ms * 2**unanswered)
    assert 0.79 * expected_ms <= pause_ms(effects) <= 1.21 * expected_ms


def test_two_clients_of_one_scheduler_do_not_poll_in_step() -> None:
    pauses = {pause_ms(Poller(bytes([n]) * 32, HEARTBEAT_MS).step(admitted(), now())) for n in range(20)}
    assert len(pauses) > 15


def test_a_scheduler_that_answers_again_is_told_to_the_machines_and_polled_at_the_heartbeat_at_once() -> None:
    machine = new_poller()
    fire(machine, "PeerAdmitted")
    for _ in range(5):
        fire(machine, "TimerFired")
    effects = fire(machine, "Polled", number=6)
    assert news(effects, PeerReached) == [PeerReached(node=NODE)]
    assert pause_ms(effects) <= 1.2 * HEARTBEAT_MS
    assert machine.snapshot().schedulers[0].unanswered == 0
    assert fire(machine, "Polled", number=6) == ()


@pytest.mark.parametrize("number", [0, -1, 2])
def test_an_answer_to_a_poll_that_was_never_sent_is_refused(number: int) -> None:
    machine = new_poller()
    fire(machine, "PeerAdmitted")
    assert refusals(fire(machine, "Polled", number=number)) == [Code.EVENT_UNEXPECTED]


def test_an_answer_of_one_who_was_not_asked_is_refused() -> None:
    machine = new_poller()
    fire(machine, "PeerAdmitted")
    assert refusals(machine.step(received(Polled(number=1, waiting=0), b"x" * 32), now())) == [Code.EVENT_UNEXPECTED]
