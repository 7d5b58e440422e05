"""Servers that do as told, and what may stand where a node was expected: programs of other kinds, and such as do harm.

with server(behave) as address: ...
with strange_server("http") as port: ...
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from flotta_p2p.demo.fleet import free_ports

LOOPBACK: Final = "127.0.0.1"
Behaviour = Callable[[socket.socket], object]


class _Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _http(client: socket.socket) -> None:
    """A real web server."""
    _Quiet(client, client.getpeername(), None)  # type: ignore[arg-type]


def _tls(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(b"\x15\x03\x03\x00\x02\x02\x46")  # alert: protocol version


def _silent(client: socket.socket) -> None:
    while client.recv(4096):
        pass


def _hangs_up(client: socket.socket) -> None:
    pass


def _garbage(client: socket.socket) -> None:
    client.sendall(bytes(range(256)) * 8)
    client.recv(4096)


def _endless(client: socket.socket) -> None:
    while True:
        client.sendall(b"A" * 65_536)


BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "http": _http,
    "tls": _tls,
    "silent": _silent,
    "hangs up": _hangs_up,
    "garbage": _garbage,
    "endless": _endless,
}


@contextmanager
def strange_server(name: str) -> Iterator[int]:
    """On a port of loopback and on the next one, as a node is."""
    port = free_ports(1)[0]
    with ExitStack() as stack:
        for one in (port, port + 1):
            stack.enter_context(server(BEHAVIOURS[name], one))
        yield port


@contextmanager
def server(behave: Behaviour, port: int = 0) -> Iterator[str]:
    """Does as told to each of any number of clients; its address. Ends with the block, and they with it."""
    clients: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ValueError):
            client.settimeout(30)
            behave(client)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            clients.append(client)
            threads.append(threading.Thread(target=serve, args=(client,)))
            threads[-1].start()

    with socket.create_server((LOOPBACK, port)) as listener:
        listener.settimeout(0.1)
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"{LOOPBACK}:{listener.getsockname()[1]}"
    accepting.join(5)
    for client in clients:
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(5)
