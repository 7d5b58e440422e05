"""What answers at an address, as a stranger sees it: by any route, bounded, and without changing anything there."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final, Literal

import zmq
from zmq.utils import z85

from actors.adapters.curve_sockets import CurveKeys, harden, set_keys
from actors.adapters.resolving import resolve
from actors.adapters.route import Route, Way
from actors.adapters.runtime_folder import SocketFolder
from protocol.limits import HANDSHAKE_LIMIT_MS, PROXY_OPEN_LIMIT_MS, ZAP_HOLD_MS
from protocol.zmtp import GREETING_BYTES, CommandReader, client_greeting

Reception = Literal["refused", "admitted", "not its key", "silent"]
CONNECT_LIMIT_S: Final = 3.5  # three packets of TCP that are lost
HEAR_LIMIT_S: Final = 2.0
_LINES_END: Final = b"\r\n\r\n"  # what a web server waits for before it says that it does not understand
_REFUSAL_S: Final = ZAP_HOLD_MS / 1000 + 1.0  # a node that has not let a stranger in by then does not do so


def source_address(address: str, port: int) -> str:
    """From which address of this machine packets go there. Sends nothing. Raises OSError when there is no way."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.connect((address, port))
        return str(sock.getsockname()[0])


def hear(route: Route, host: str, port: int) -> bytes | None:
    """The first bytes of what answers there to the greeting of a ZeroMQ socket; b"" when it hangs up, None when it
    takes the connection and stays silent.

    Raises TimeoutError, ConnectionError and other OSErrors when it does not take it, and the FlottaError of the way.
    """
    with _opened(route, host, port) as (way, sock):
        patience_s = HEAR_LIMIT_S + (PROXY_OPEN_LIMIT_MS / 1000 if way.socket_path else 0)
        said = _said(sock, client_greeting(), patience_s)
        if said is None and way.problem() is None:
            said = _said(sock, _LINES_END, HEAR_LIMIT_S)
        if not said and (problem := way.problem()) is not None:
            raise problem
        return said


def _said(sock: socket.socket, word: bytes, limit_s: float) -> bytes | None:
    """What is answered to a word, as long as a greeting at most; b"" when it hangs up, None when it stays silent."""
    said = b""
    ends_s = time.monotonic() + limit_s
    try:
        sock.sendall(word)
        while len(said) < GREETING_BYTES:
            sock.settimeout(max(0.001, ends_s - time.monotonic()))
            part = sock.recv(GREETING_BYTES - len(said))
            if not part:
                break
            said += part
    except ConnectionError:
        pass  # it hangs up, perhaps after a word
    except TimeoutError:
        return said or None
    return said


def knock_as_stranger(route: Route, host: str, port: int, server_key: bytes) -> Reception:
    """How a node receives a CURVE key that nobody knows. Reads along with a handshake that libzmq makes.

    The client sends INITIATE only once the server has opened its HELLO, which needs the secret of `server_key`. A
    server that goes on with READY has let it in. Raises OSError and the FlottaError of the way.
    """
    folder = SocketFolder()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
            path = str(folder.path / "stranger")
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(CONNECT_LIMIT_S)
            with closing(_stranger(context, server_key)) as dealer, _opened(route, host, port) as (way, outer):
                dealer.connect(f"ipc://{path}")
                inner, _ = listener.accept()
                with closing(inner):
                    reception = _Along(inner, outer).reception()
                if reception in ("silent", "not its key") and (problem := way.problem()) is not None:
                    raise problem
                return reception
    finally:
        context.term()
        folder.close()


def _stranger(context: zmq.Context[zmq.Socket[bytes]], server_key: bytes) -> zmq.Socket[bytes]:
    dealer: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    harden(dealer)
    public, secret = zmq.curve_keypair()
    dealer.setsockopt(zmq.HANDSHAKE_IVL, PROXY_OPEN_LIMIT_MS + 2 * HANDSHAKE_LIMIT_MS)
    dealer.setsockopt(zmq.CURVE_SERVERKEY, server_key)
    set_keys(dealer, CurveKeys(secret=z85.decode(secret), public=z85.decode(public)))
    return dealer


class _Along:
    """Carries the bytes of a handshake between our socket and theirs, and reads along."""

    def __init__(self, inner: socket.socket, outer: socket.socket) -> None:
        self._inner = inner
        self._other = {inner: outer, outer: inner}
        self._readers = {inner: CommandReader(), outer: CommandReader()}
        self._welcomed_s: float | None = None  # since when we know that the server holds its key
        self._said_something = False
        for sock in self._other:
            sock.settimeout(HEAR_LIMIT_S)

    def reception(self) -> Reception:
        ends_s = time.monotonic() + (PROXY_OPEN_LIMIT_MS + HANDSHAKE_LIMIT_MS) / 1000
        with closing(selectors.DefaultSelector()) as selector:
            for sock in self._other:
                selector.register(sock, selectors.EVENT_READ, sock)
            while time.monotonic() < min(ends_s, (self._welcomed_s or ends_s) + _REFUSAL_S):
                for key, _ in selector.select(0.1):
                    if (verdict := self._carry(key.data)) is not None:
                        return verdict
        return self._at_the_end()

    def _carry(self, sock: socket.socket) -> Reception | None:
        try:
            data = sock.recv(4096)
            self._other[sock].sendall(data)
        except ConnectionError:
            data = b""
        if not data:
            return self._at_the_end()
        names = self._readers[sock].feed(data)
        if sock is not self._inner:
            self._said_something = True
            return "admitted" if "READY" in names else None
        if "INITIATE" in names:
            self._welcomed_s = time.monotonic()
        return None

    def _at_the_end(self) -> Reception:
        if self._welcomed_s is not None:
            return "refused"
        return "not its key" if self._said_something else "silent"


@contextmanager
def _opened(route: Route, host: str, port: int) -> Iterator[tuple[Way, socket.socket]]:
    """A connection; by a tunnel one that is open as far as the tunnel alone. Raises OSError, and FlottaError."""
    way = route.way(f"{host}:{port}")
    try:
        with closing(_connected(way, host, port)) as sock:
            yield way, sock
    finally:
        way.close()


def _connected(way: Way, host: str, port: int) -> socket.socket:
    ends_s = time.monotonic() + CONNECT_LIMIT_S
    found = [(socket.AF_UNIX, way.socket_path)] if way.socket_path else resolve(host, port, CONNECT_LIMIT_S)
    refusal = OSError("the name has no address")
    for family, address in found:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(max(0.001, ends_s - time.monotonic()))
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            refusal = error
            continue
        return sock
    raise refusal
