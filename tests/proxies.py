"""Real proxies on this machine, SOCKS 5 and HTTP CONNECT, written from the RFCs and not from the product.

    with proxy("socks5", login=("ada", "pass")) as one:
        ...
    assert one.targets == ["127.0.0.1:1456"]

As a program, for a namespace: `python -m tests.proxies KIND HOST PORT`.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

Answer = Callable[[str, int], int | None]
LOOPBACK: Final = "127.0.0.1"


class TestProxy:
    """One thread for each connection. `names` are what it resolves by itself, as a proxy's own name server would.

    `deny` gives the SOCKS reply or the HTTP status for a target that is not permitted, else None.
    """

    __test__ = False

    def __init__(
        self,
        kind: str,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        login: tuple[str, str] | None = None,
        names: dict[str, str] | None = None,
        deny: Answer = lambda host, port: None,
    ) -> None:
        self.kind = kind
        self.login = login
        self.names = names or {}
        self.deny = deny
        self.targets: list[str] = []
        self._listener = socket.create_server((host, port))
        self.host, self.port = self._listener.getsockname()[:2]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        login = f"{self.login[0]}:{self.login[1]}@" if self.login else ""
        return f"{self.kind}://{login}{self.host}:{self.port}"

    def start(self) -> None:
        self._accepting.start()

    def stop(self) -> None:
        self._listener.close()
        self.cut()
        for thread in (self._accepting, *self._threads):
            thread.join(5)

    def cut(self) -> None:
        """Resets every connection in the middle."""
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def serve_forever(self) -> None:
        self.start()
        self._accepting.join()

    def _accept(self) -> None:
        self._listener.settimeout(0.1)
        while True:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            self._keep(stack, client)
            client.settimeout(10)
            with suppress(OSError, EOFError):
                target = self._socks5(client) if self.kind == "socks5" else self._connect(client)
                if target is not None:
                    self._keep(stack, target)
                    _pump(client, target)

    def _keep(self, stack: contextlib.ExitStack, sock: socket.socket) -> None:
        with self._lock:
            self._open.add(sock)

        def leave() -> None:
            with self._lock:
                self._open.discard(sock)
            sock.close()

        stack.callback(leave)

    def _to(self, host: str, port: int) -> socket.socket:
        self.targets.append(f"{host}:{port}")
        return socket.create_connection((self.names.get(host, host), port), timeout=5)

    def _socks5(self, client: socket.socket) -> socket.socket | None:
        version, count = _exactly(client, 2)
        methods = _exactly(client, count)
        wanted = 2 if self.login else 0
        if version != 5 or wanted not in methods:
            client.sendall(b"\x05\xff")
            return None
        client.sendall(bytes((5, wanted)))
        if self.login and not self._socks5_login(client, self.login):
            return None
        _, _, _, kind = _exactly(client, 4)
        host = socket.inet_ntoa(_exactly(client, 4)) if kind == 1 else _exactly(client, _exactly(client, 1)[0]).decode()
        port = int.from_bytes(_exactly(client, 2))
        reply = self.deny(host, port)
        target = None
        if reply is None:
            try:
                target, reply = self._to(host, port), 0
            except ConnectionRefusedError:
                reply = 5
            except OSError:
                reply = 4
        client.sendall(bytes((5, reply, 0, 1, 0, 0, 0, 0, 0, 0)))
        return target

    @staticmethod
    def _socks5_login(client: socket.socket, login: tuple[str, str]) -> bool:
        _, length = _exactly(client, 2)
        user = _exactly(client, length).decode()
        password = _exactly(client, _exactly(client, 1)[0]).decode()
        client.sendall(bytes((1, 0 if (user, password) == login else 1)))
        return (user, password) == login

    def _connect(self, client: socket.socket) -> socket.socket | None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += _exactly(client, 1)
        lines = head.decode().split("\r\n")
        host, _, port = lines[0].split()[1].rpartition(":")
        if self.login:
            expected = base64.b64encode(":".join(self.login).encode()).decode()
            if f"Proxy-Authorization: Basic {expected}" not in lines:
                client.sendall(b"HTTP/1.1 407 Login Wanted\r\nProxy-Authenticate: Basic realm=x\r\n\r\nno")
                return None
        status = self.deny(host, int(port))
        if status is not None:
            client.sendall(b"HTTP/1.1 %d No Way\r\nContent-Length: 2\r\n\r\nno" % status)
            return None
        try:
            target = self._to(host, int(port))
        except OSError:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return None
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return target


@contextmanager
def proxy(
    kind: str,
    *,
    login: tuple[str, str] | None = None,
    names: dict[str, str] | None = None,
    deny: Answer = lambda host, port: None,
) -> Iterator[TestProxy]:
    one = TestProxy(kind, login=login, names=names, deny=deny)
    one.start()
    try:
        yield one
    finally:
        one.stop()


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _pump(one: socket.socket, other: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([one, other], [], [], 30)
        if not ready:
            return
        for sock in ready:
            data = sock.recv(65_536)
            if not data:
                return
            (other if sock is one else one).sendall(data)


if __name__ == "__main__":
    TestProxy(sys.argv[1], host=sys.argv[2], port=int(sys.argv[3])).serve_forever()
