"""Names of machines to addresses, with a limit: the system's resolver knows none, so it runs in a thread of its own."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

SocketAddress = tuple[socket.AddressFamily, Any]
Found = list[SocketAddress] | OSError | ValueError


def look_up(host: str, port: int, tell: Callable[[Found], None]) -> None:
    """Returns at once; `tell` is called in another thread, which the end of the process does not wait for."""

    def run() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            tell(error)
        else:
            tell([(family, address) for family, _, _, _, address in found])

    threading.Thread(target=run, name="resolve", daemon=True).start()


def resolve(host: str, port: int, limit_s: float) -> list[SocketAddress]:
    """Raises TimeoutError, socket.gaierror, OSError, and ValueError for what is no name."""
    answer: queue.SimpleQueue[Found] = queue.SimpleQueue()
    look_up(host, port, answer.put)
    try:
        found = answer.get(timeout=limit_s)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, list):
        return found
    raise found
