"""A client's wire listens on nothing, and is answered over the connection that it opened."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from actors.adapters.clock import SystemClock
from actors.adapters.zap import Allowed
from actors.adapters.zmq_wire import Carry, Dial, ZmqWire
from flotta_p2p.demo.fleet import free_ports
from protocol.limits import LINK_FRAMES_WAITING_MAX
from protocol.wire.relay import FROM, MAGIC
from tests.actors.adapters.test_zmq_wire import PEER, PEER_ID, SERVER, SERVER_ID, Station, station
from tests.actors.tree import LIMIT_S, Journal
from tests.system.processes import wait_until

KNOWS_THE_CLIENT = Allowed(nodes={PEER.public: PEER_ID}, doors={})


class Client:
    def __init__(self, wire: ZmqWire, arrived: Journal) -> None:
        self.wire = wire
        self.arrived = arrived

    def says(self, raw: bytes) -> None:
        assert self.wire.post(Carry(name=SERVER_ID, raw=raw))

    def hears(self, number: int = 1) -> list[bytes]:
        return [one.raw for one in self.arrived.wait(lambda told: len(told) >= number)]


@contextmanager
def client(scheduler: Station) -> Iterator[Client]:
    arrived, failed, ready = Journal(), Journal(), threading.Event()
    wire = ZmqWire(PEER, SystemClock(), arrived.add, failed.add, ready.set)
    dial = Dial(name=SERVER_ID, server_curve=SERVER.public, own=PEER, addresses=(scheduler.address,), door=False)
    try:
        assert wire.open((), 0) == ()
        assert ready.wait(LIMIT_S)
        assert wire.post(dial)
        yield Client(wire, arrived)
    finally:
        wire.close()
        assert not wire._thread.is_alive()
        assert failed.entries() == []


def test_a_client_has_no_socket_at_which_others_could_connect() -> None:
    with station() as scheduler, client(scheduler) as one:
        assert one.wire._router is None and one.wire._self_test is None


def test_what_is_for_a_client_goes_back_over_the_connection_that_it_opened() -> None:
    with station(SERVER, KNOWS_THE_CLIENT) as scheduler, client(scheduler) as one:
        one.says(b"here I am")
        scheduler.arrived.wait(bool)
        scheduler.post(Carry(name=PEER_ID, raw=b"work"), Carry(name=PEER_ID, raw=b"more"))
        assert one.hears(2) == [b"work", b"more"]
        assert {arrived.node for arrived in one.arrived.entries()} == {SERVER_ID}


def test_what_is_for_a_client_that_has_not_spoken_is_dropped_and_counted() -> None:
    with station(SERVER, KNOWS_THE_CLIENT) as scheduler:
        scheduler.post(Carry(name=PEER_ID, raw=b"work"))
        wait_until(lambda: scheduler.wire.dropped == 1)


def test_a_client_that_comes_back_is_reached_over_its_new_connection() -> None:
    with station(SERVER, KNOWS_THE_CLIENT) as scheduler:
        with client(scheduler) as one:
            one.says(b"here I am")
            scheduler.arrived.wait(bool)
        scheduler.post(Carry(name=PEER_ID, raw=b"lost"))
        wait_until(lambda: not scheduler.wire._commands)
        with client(scheduler) as one:
            one.says(b"back")
            scheduler.arrived.wait(lambda told: len(told) == 2)
            scheduler.post(Carry(name=PEER_ID, raw=b"work"))
            assert one.hears()[-1] == b"work"


def test_frames_passed_on_to_a_peer_that_does_not_read_leave_its_places_to_our_own() -> None:
    with station(SERVER, KNOWS_THE_CLIENT) as scheduler:
        (port,) = free_ports(1)  # nobody listens there
        scheduler.post(
            Dial(name=PEER_ID, server_curve=PEER.public, own=SERVER, addresses=(f"127.0.0.1:{port}",), door=False),
            *(Carry(name=PEER_ID, raw=MAGIC + bytes((FROM,)) + bytes(40)) for _ in range(LINK_FRAMES_WAITING_MAX)),
            *(Carry(name=PEER_ID, raw=b"our own") for _ in range(LINK_FRAMES_WAITING_MAX - 1)),
        )
        wait_until(lambda: not scheduler.wire._commands and PEER_ID in scheduler.wire._links)
        wait_until(lambda: len(scheduler.wire._links[PEER_ID].waiting) == LINK_FRAMES_WAITING_MAX)
        assert scheduler.wire.dropped == LINK_FRAMES_WAITING_MAX - 1
