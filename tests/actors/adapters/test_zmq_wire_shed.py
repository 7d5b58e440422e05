"""Messages without an end: libzmq bounds neither their parts nor their bytes, so the wire does."""

from __future__ import annotations

import pytest
import zmq

from actors.adapters.memory_watch import MemoryWatch, private_bytes
from actors.adapters.zmq_wire import Carry
from protocol.limits import MIB, WIRE_GROWTH_BYTES_MAX
from protocol.machines.events import Arrived
from tests.actors.adapters.test_zmq_wire import (
    DOOR,
    KNOWN,
    PEER,
    PEER_ID,
    SERVER,
    SERVER_ID,
    dealer,
    peer_dial,
    station,
)
from tests.system.processes import wait_until


def test_growth_is_told_once_for_each_step_and_shrinking_begins_anew() -> None:
    step = WIRE_GROWTH_BYTES_MAX
    sizes = iter((0, 0, step, step + 1, 2 * step, 5, 10 * step, 10 * step))
    watch = MemoryWatch(lambda: next(sizes))
    assert [watch.has_grown() for _ in range(7)] == [False, False, True, False, False, True, False]
    assert private_bytes() > MIB


def test_a_message_without_an_end_ends_its_connection_and_peers_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.adapters.memory_watch.WIRE_GROWTH_BYTES_MAX", 24 * MIB)
    with station(SERVER, KNOWN) as it, station(PEER) as peer, dealer(it.address, DOOR) as member:
        peer.post(peer_dial(it.address), Carry(name=SERVER_ID, raw=b"before"))
        it.arrived.wait_for(Arrived(raw=b"before", node=PEER_ID))
        member.send_multipart([bytes(MIB)] * 64)  # whole at its sender; the node gets part after part
        wait_until(lambda: it.wire.shed == 1)

        def is_back() -> bool:
            peer.post(Carry(name=SERVER_ID, raw=b"after"))
            return b"after" in it.frames()

        wait_until(is_back)
        member.setsockopt(zmq.LINGER, 0)
        assert set(it.frames()) == {b"before", b"after"}
        assert it.wire.counts()["connections_shed"] >= 1
