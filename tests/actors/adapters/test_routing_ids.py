"""Routing ids: what libzmq numbers its connections with cannot be known beforehand, and nobody may try often."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from actors.adapters.zap import refuses
from actors.adapters.zmq_wire import ZmqWire
from protocol.limits import DIALS_BURST, DIALS_PER_S, DOOR_DIALS_BURST
from protocol.machines.contract import Now
from tests.actors.adapters.test_zmq_wire import DOOR, KNOWN, PEER, SERVER, request

FIRST_ID: Final = """
import sys, zmq
from actors.adapters.curve_sockets import seed_routing_ids
if "seeded" in sys.argv:
    seed_routing_ids()
context = zmq.Context()
router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
port = router.bind_to_random_port("tcp://127.0.0.1")
dealer.connect(f"tcp://127.0.0.1:{port}")
dealer.send(b"x")
print(router.recv_multipart()[0].hex())
"""


def first_ids(*arguments: str) -> set[str]:
    """The first routing ids of three new processes."""
    argv = [sys.executable, "-c", FIRST_ID, *arguments]
    return {subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout for _ in range(3)}


def test_the_first_routing_id_of_a_process_is_another_one_each_time() -> None:
    assert len(first_ids()) == 1, "libzmq seeds by itself now: seed_routing_ids can go"
    assert len(first_ids("seeded")) == 3


class StandingClock:
    """A second passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1

    def now(self) -> Now:
        return Now(self.seconds * 1_000_000_000, 0)


def test_one_address_at_a_door_does_not_shut_it_for_others_and_all_together_have_a_bound() -> None:
    wire = ZmqWire(SERVER, StandingClock(), lambda arrived: None, lambda error: None, lambda: None)
    wire._allowed = KNOWN

    def let_in(address: bytes, times: int) -> int:
        return sum(wire._may_dial(b"door:" + DOOR.public, address) for _ in range(times))

    assert let_in(b"10.0.0.1", DIALS_BURST + 50) == DIALS_BURST
    assert let_in(b"10.0.0.2", 1) == 1
    everybody = sum(let_in(b"10.0.1.%d" % number, DIALS_BURST) for number in range(10))
    assert DIALS_BURST + 1 + everybody == DOOR_DIALS_BURST
    wire.close()


def test_one_door_takes_its_share_of_connections_and_others_are_let_in() -> None:
    clock = StandingClock()
    wire = ZmqWire(SERVER, clock, lambda arrived: None, lambda error: None, lambda: None)
    wire._allowed = KNOWN

    def let_in(key: bytes, times: int) -> int:
        replies = [wire._permission(request(key=key)) for _ in range(times)]
        return sum(reply is not None and not refuses(reply) for reply in replies)

    assert let_in(DOOR.public, DIALS_BURST + 50) == DIALS_BURST
    assert let_in(PEER.public, 1) == 1
    clock.seconds += 1
    assert let_in(DOOR.public, DIALS_BURST) == DIALS_PER_S
    wire.close()
