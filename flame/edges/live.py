"""Watching values that are nowhere but on their way: the other end of a flame node's tap."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import zmq

from flame import values
from flame.edges import message
from flame.edges.tap import tap_address, topic
from flame.limits import WATCH_S
from flame.names.streams import Value


def live_values(
    sockets: Path, node: str, output: str, is_running: Callable[[], bool], wait_s: float | None = None
) -> Iterator[Value]:
    """The newest value where it is a plain one, then those that are set while this waits; in order, each once.

    Ends when the run does, or after `wait_s` seconds without a value. `sockets` is the folder, or a link to it.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.SUB)
    try:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RECONNECT_IVL, round(WATCH_S * 1e3))
        socket.connect(tap_address(sockets.resolve(), node))
        socket.subscribe(topic(output))
        given, waited_since = 0, time.monotonic()
        while True:
            runs = is_running()
            if not socket.poll(round(WATCH_S * 1e3)):
                if not runs or (wait_s is not None and time.monotonic() - waited_since > wait_s):
                    return
                continue
            value = _read(socket.recv_multipart()[1])
            waited_since = time.monotonic()
            if value is not None and value.seq > given:  # the newest may come twice
                given = value.seq
                yield value
    finally:
        socket.close()
        context.term()


def _read(frame: bytes) -> Value | None:
    """None for a message of a newer flame."""
    try:
        told = message.decode(frame)
    except msgspec.DecodeError:
        return None
    return Value(told.n, told.t, values.decode(bytes(told.v))) if told.k == message.VALUE else None
