"""Two nodes that have just proved themselves connect at once, whichever of them dials before the other knows it."""

from __future__ import annotations

import queue
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq
from zmq.utils import z85

from actors.adapters.clock import SystemClock
from actors.adapters.curve_sockets import CurveKeys
from actors.adapters.zap import Allowed
from actors.adapters.zmq_wire import Carry, Dial, ZmqWire
from protocol.limits import HANDSHAKE_LIMIT_MS, SELF_TEST_LIMIT_MS, ZAP_HOLD_MS
from protocol.machines.events import Arrived

HOST = "127.0.0.1"
DIALLER = b"d" * 32


class End:
    """A wire that listens on a free port, and what it received."""

    def __init__(self) -> None:
        public, secret = (z85.decode(half) for half in zmq.curve_keypair())
        self.keys = CurveKeys(secret=secret, public=public)
        self.arrived: queue.Queue[Arrived] = queue.Queue()
        self.news: queue.Queue[object] = queue.Queue()
        self.wire = ZmqWire(
            self.keys,
            SystemClock(),
            deliver=self.arrived.put,
            fail=self.news.put,
            ready=lambda: self.news.put("ready"),
        )
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port = int(free.getsockname()[1])
        self.wire.open((HOST,), self.port)

    def dial(self, other: End) -> None:
        address = f"{HOST}:{other.port}"
        self.wire.post(
            Dial(name=b"other", server_curve=other.keys.public, own=self.keys, addresses=(address,), door=False)
        )
        self.wire.post(Carry(name=b"other", raw=b"hello"))


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    with ExitStack() as opened:
        made = []
        for _ in range(2):
            made.append(End())
            opened.callback(made[-1].wire.close)
        for end in made:
            assert end.news.get(timeout=SELF_TEST_LIMIT_MS / 1000) == "ready"
        yield made[0], made[1]


def test_the_self_test_is_over_long_before_a_handshake_runs_out_of_time(ends: tuple[End, End]) -> None:
    started_s = time.monotonic()
    third = End()
    try:
        assert third.news.get(timeout=SELF_TEST_LIMIT_MS / 1000) == "ready"
        assert time.monotonic() - started_s < HANDSHAKE_LIMIT_MS / 1000
    finally:
        third.wire.close()


def test_a_key_that_becomes_known_a_moment_later_is_let_in_at_once(ends: tuple[End, End]) -> None:
    early, late = ends
    early.dial(late)
    with pytest.raises(queue.Empty):
        late.arrived.get(timeout=ZAP_HOLD_MS / 3000)  # nobody knows it yet
    late.wire.post(Allowed(nodes={early.keys.public: DIALLER}, doors={}))
    arrived = late.arrived.get(timeout=HANDSHAKE_LIMIT_MS / 2000)
    assert (arrived.raw, arrived.node) == (b"hello", DIALLER)


def test_a_key_that_stays_unknown_is_not_let_in_and_counted(ends: tuple[End, End]) -> None:
    stranger, node = ends
    node.wire.post(Allowed(nodes={b"k" * 32: DIALLER}, doors={}))
    stranger.dial(node)
    with pytest.raises(queue.Empty):
        node.arrived.get(timeout=2 * ZAP_HOLD_MS / 1000)
    assert node.wire.counts()["refused_connections"] >= 1
