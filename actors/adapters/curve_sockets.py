"""What every CURVE socket needs, of a node and of a person at its door: key pairs, options, the form of an address."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import zmq

from actors.adapters.entropy import SystemEntropy
from protocol.key_statement import parse_address
from protocol.limits import FRAME_BYTES_MAX, HANDSHAKE_LIMIT_MS
from protocol.record import Record


class CurveKeys(Record, frozen=True):
    """A CURVE key pair, 32 raw bytes each. Its repr does not show the secret one."""

    secret: bytes
    public: bytes

    def __repr__(self) -> str:
        return f"CurveKeys(public={self.public.hex()})"


def harden(sock: zmq.Socket[bytes]) -> None:
    """Set on every TCP socket before bind and connect; each closes a way to exhaust or to fool the node."""
    options: Mapping[int, int] = {
        zmq.LINGER: 0,  # closing never waits
        zmq.MAXMSGSIZE: FRAME_BYTES_MAX,  # before the handshake too: a stranger could otherwise make us allocate
        zmq.HANDSHAKE_IVL: HANDSHAKE_LIMIT_MS,  # half-open connections
        zmq.HEARTBEAT_IVL: 3_000,
        zmq.HEARTBEAT_TIMEOUT: 8_000,  # a client whose address has changed is back within a lease
        zmq.HEARTBEAT_TTL: 8_000,
        zmq.SNDHWM: 64,  # the queue is the outbox, where it is durable and counted
        zmq.RCVHWM: 64,
        zmq.SNDTIMEO: 0,
        zmq.RECONNECT_IVL: 100,
        zmq.RECONNECT_IVL_MAX: 5_000,
        zmq.CONNECT_TIMEOUT: 5_000,
    }
    for option, value in options.items():
        sock.setsockopt(option, value)


def seed_routing_ids() -> None:
    """Before the first socket of a process. libzmq numbers the connections of a ROUTER from what C's rand() gives,
    which is the same in every process that does not seed it; a client that chooses the next number as its own routing
    id makes libzmq abort.
    """
    ctypes.CDLL(None).srand(int.from_bytes(SystemEntropy().bytes(4)))


def set_keys(sock: zmq.Socket[bytes], keys: CurveKeys) -> None:
    """Both halves of our own key pair; the public half is not derived by libzmq."""
    sock.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    sock.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)


def endpoint(address: str) -> str:
    """ZeroMQ's form of `host:port`. Raises AddressError."""
    host, port = parse_address(address)
    return f"tcp://{host}:{port}"
