"""Routing ids: what libzmq numbers its connections with cannot be known beforehand, and nobody may try often."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from protocol.limits import DIALS_BURST
from protocol.machines.events import Arrived
from tests.actors.adapters.test_zmq_wire import DOOR, KNOWN, PEER, PEER_ID, SERVER, dealer, station
from tests.faults.hostile_zap import let_in

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


def test_one_door_takes_its_share_of_connections_and_no_more() -> None:
    with station(SERVER, KNOWN) as it:
        accepted = let_in(it.address, DOOR, 2 * DIALS_BURST, 6.0)
        assert DIALS_BURST <= accepted < 2 * DIALS_BURST
        with dealer(it.address, PEER) as peer:
            peer.send(b"undisturbed")
            it.arrived.wait_for(Arrived(raw=b"undisturbed", node=PEER_ID))
