"""The ZAP matrix: whatever is wrong with who asks for permission or with who answers, nobody is let in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from actors.adapters.curve_sockets import CurveKeys, harden, set_keys
from actors.adapters.zap import DOMAIN, Allowed, answer_zap
from flotta_p2p.demo.fleet import free_ports
from tests.actors.adapters.test_zmq_wire import DOOR, KNOWN, PEER, PEER_ID, SERVER, STRANGER, new_keys, plain, station
from tests.faults.outcome import Found

ZAP: Final = "inproc://zeromq.zap.01"
ASKED_S: Final = 2.5  # a handshake that is not refused at once ends after two seconds
CONTROL_S: Final = 15.0
AT_ONCE: Final = 250
REMOVED, FOREIGN_DOOR, EXPIRED_DOOR = new_keys(), new_keys(), new_keys()
Answer = Callable[[list[bytes]], list[bytes] | None]


def let_in(address: str, keys: CurveKeys | None, attempts: int, limit_s: float, prepare: Any = None) -> int:
    """Dials so often at once; how many handshakes succeeded within the limit, or as soon as all have."""
    context = zmq.Context()
    one: zmq.Socket[bytes] = context.socket(zmq.ROUTER)  # which dials one address more than once
    monitor = one.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    succeeded = 0
    try:
        one.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            one.setsockopt(zmq.CURVE_SERVERKEY, SERVER.public)
            set_keys(one, keys)
        if prepare is not None:
            prepare(one)
        for _ in range(attempts):
            one.connect(f"tcp://{address}")
        deadline_s = time.monotonic() + limit_s
        while succeeded < attempts and (left_s := deadline_s - time.monotonic()) > 0:
            if monitor.poll(int(left_s * 1_000) + 1):
                recv_monitor_message(monitor)
                succeeded += 1
        return succeeded
    finally:
        one.disable_monitor()
        monitor.close(0)
        one.close(0)
        context.term()


@contextmanager
def bare(answer: Answer | None, *, domain: str = DOMAIN, bound: bool = True) -> Iterator[str]:
    """A listener with the options of the wire, and a handler that answers as told. None: a handler that has ended.

    An exception of `answer` ends the handler, as it ends the thread of the wire.
    """
    context = zmq.Context()
    (port,) = free_ports(1)
    over = threading.Event()
    handler: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    if bound:
        handler.bind(ZAP)
    if answer is None:
        handler.close(0)
    harden(router)
    router.setsockopt(zmq.CURVE_SERVER, 1)
    if domain:
        router.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
    router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, bool(domain))  # enforced and empty, nobody would be asked
    set_keys(router, SERVER)
    router.bind(f"tcp://127.0.0.1:{port}")

    def serve(answer: Answer) -> None:
        try:
            while not over.is_set():
                if handler.poll(50):
                    reply = answer(handler.recv_multipart())
                    if reply is not None:
                        handler.send_multipart(reply)
        except ArithmeticError:
            pass  # the one that `_raises` raises
        finally:
            handler.close(0)

    thread = threading.Thread(target=serve, args=(answer,), name="zap")
    if answer is not None:
        thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        over.set()
        if answer is not None:
            thread.join()
        router.close(0)
        context.term()


def _answers(parts: list[bytes]) -> list[bytes] | None:
    return answer_zap(parts, KNOWN)


def _raises(parts: list[bytes]) -> list[bytes] | None:
    raise ArithmeticError


# What is wrong with the handler; the key that asks is a peer's.
HANDLERS: Final[dict[str, dict[str, Any]]] = {
    "no handler": {"answer": None, "bound": False},
    "handler that has ended": {"answer": None},
    "handler that raises": {"answer": _raises},
    "handler that is silent": {"answer": lambda parts: None},
    "empty domain": {"answer": _answers, "domain": ""},
    "wrong domain": {"answer": _answers, "domain": "global"},
}
# What is wrong with who asks; the handler is the wire's.
ASKERS: Final[dict[str, tuple[CurveKeys | None, Any]]] = {
    "NULL": (None, None),
    "PLAIN": (None, plain),
    "unknown key": (STRANGER, None),
    "removed peer": (REMOVED, None),
    "door of another project": (FOREIGN_DOOR, None),
    "door that is closed": (EXPIRED_DOOR, None),
}


def matrix(attempts: int, *, asked_s: float = ASKED_S) -> Found:
    found = Found()
    for name, options in HANDLERS.items():
        with bare(**options) as address:
            _refused(found, name, address, PEER, attempts, asked_s)
    with bare(_answers) as address:
        _accepted(found, "a handler that answers", address, PEER)
    before = Allowed(
        nodes={**KNOWN.nodes, REMOVED.public: PEER_ID}, doors={**KNOWN.doors, EXPIRED_DOOR.public: b"E" * 16}
    )
    with station(SERVER, before) as it:
        for keys in (REMOVED, EXPIRED_DOOR):
            _accepted(found, "before it was removed", it.address, keys)
        it.post(KNOWN)
        for name, (asking, prepare) in ASKERS.items():
            _refused(found, name, it.address, asking, attempts, asked_s, prepare)
        for keys in (PEER, DOOR):
            _accepted(found, "the right key", it.address, keys)
        found.hold(it.frames() == [], "a frame came through")
    return found


def _refused(
    found: Found, name: str, address: str, keys: CurveKeys | None, attempts: int, asked_s: float, prepare: Any = None
) -> None:
    found.counts["ZAP cells"] += 1
    for first in range(0, attempts, AT_ONCE):
        count = min(AT_ONCE, attempts - first)
        accepted = let_in(address, keys, count, asked_s, prepare)
        found.counts["ZAP attempts"] += count
        found.hold(accepted == 0, f"{name}: {accepted} of {count} were let in")


def _accepted(found: Found, name: str, address: str, keys: CurveKeys) -> None:
    accepted = let_in(address, keys, 20, CONTROL_S)
    found.counts["ZAP controls let in"] += accepted
    found.hold(accepted == 20, f"the control ({name}) was let in {accepted} times, not 20")
