"""The self-test of the door: whether ZeroMQ on this machine really asks us who may connect."""

from __future__ import annotations

from typing import Any

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from actors.adapters.curve_sockets import harden
from protocol.limits import SELF_TEST_HANDSHAKE_MS


class SelfTest:
    """A stranger of our own: connects with a key that nobody knows, and must be refused."""

    def __init__(self, context: zmq.Context[Any], server_key: bytes, address: str, now_ms: int) -> None:
        public, secret = zmq.curve_keypair()
        self.public_key = z85.decode(public)
        self.was_asked = False  # the ZAP handler was asked about this key
        self.started_ms = now_ms
        self._socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        harden(self._socket)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, SELF_TEST_HANDSHAKE_MS)
        self._socket.setsockopt(zmq.CURVE_SERVERKEY, server_key)
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        self.monitor = self._socket.get_monitor_socket()
        host, _, port = address.rpartition(":")
        self._socket.connect(f"tcp://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}")

    def verdict(self) -> bool | None:
        """True: refused, as it must be. False: let in. None: not decided yet."""
        while self.monitor.poll(0):
            event = parse_monitor_message(self.monitor.recv_multipart())["event"]
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                return False
            # A refusal with status 300 lets the handshake run out of time, which libzmq tells as "no detail". A
            # handshake that ran out before the handler was asked says nothing.
            if event in (zmq.Event.HANDSHAKE_FAILED_NO_DETAIL, zmq.Event.HANDSHAKE_FAILED_AUTH) and self.was_asked:
                return True
        return None

    def close(self) -> None:
        self._socket.disable_monitor()
        self.monitor.close(0)
        self._socket.close(0)
