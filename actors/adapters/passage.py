"""One connection through the tunnel: it is opened at the proxy, then bytes are carried both ways."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable
from typing import Final, Literal

from actors.adapters.descriptors import reserve
from actors.adapters.resolving import SocketAddress
from protocol.errors import Code, FlottaError, UnreachableError
from protocol.limits import PROXY_OPEN_LIMIT_MS, TUNNEL_BUFFER_BYTES, TUNNEL_DRAIN_MS
from protocol.proxies.handshake import Handshake, malformed, target_unreachable
from protocol.proxies.proxy import Proxy

Stage = Literal["waiting", "connecting", "greeting", "open", "draining", "ended"]
_LIMIT_S: Final = PROXY_OPEN_LIMIT_MS / 1000
_READ_BYTES_OF_A_PROXY: Final = 4_096


def proxy_unreachable(proxy: Proxy, cause: str) -> UnreachableError:
    return UnreachableError(
        Code.PROXY_UNREACHABLE,
        f"the proxy {proxy} cannot be reached: {cause}",
        next_step="check its host and port, and that this machine may open connections to it",
    )


class _Side:
    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.waiting = bytearray()  # limits.TUNNEL_BUFFER_BYTES: to be written to it
        self.watched = 0  # events of the selector


class Passage:
    """`inner` leads to a program of this machine. All methods are called in the tunnel's thread.

    A program is read only while the way is open and the other side takes what was read, so that a slow side slows the
    other one and nothing grows. `on_change` is called when it becomes open and when it begins to drain, `on_end` at the
    end, with the reason when it never was open.
    """

    def __init__(
        self,
        proxy: Proxy,
        target: str,
        inner: socket.socket,
        handshake: Handshake,
        selector: selectors.BaseSelector,
        on_change: Callable[[Passage], None],
        on_end: Callable[[Passage, FlottaError | None], None],
    ) -> None:
        inner.setblocking(False)
        self.stage: Stage = "waiting"
        self._proxy = proxy
        self._target = target
        self._handshake = handshake
        self._selector = selector
        self._on_change = on_change
        self._on_end = on_end
        self._inner = _Side(inner)
        self._outer: _Side | None = None
        self._addresses: list[SocketAddress] = []  # of the proxy, those that are still to be tried
        self._spoke = False  # the proxy has said something
        self._ends_s = 0.0  # of time.monotonic, in all stages but "waiting" and "open"

    def start(self, addresses: list[SocketAddress]) -> None:
        """Connects to the first address of the proxy that takes it."""
        self._addresses = list(addresses)
        self._ends_s = time.monotonic() + _LIMIT_S
        self._connect(errno.EADDRNOTAVAIL)

    def tick(self, now_s: float) -> None:
        """Ends what takes too long."""
        if self.stage in ("waiting", "open", "ended") or now_s < self._ends_s:
            return
        if self.stage == "draining":
            self.end()
        elif self.stage == "connecting":
            self.end(proxy_unreachable(self._proxy, f"no answer within {_LIMIT_S:g} s"))
        else:
            self.end(self._silence())

    def end(self, error: FlottaError | None = None) -> None:
        """Closes both sides. Nothing happens when it has ended already."""
        if self.stage == "ended":
            return
        self.stage = "ended"
        self._on_end(self, error)  # first: the program may ask for the reason as soon as it is hung up on
        for side in (self._inner, self._outer):
            if side is not None:
                self._watch(side, 0)
                side.socket.close()

    # --- opening ---------------------------------------------------------------------------------

    def _connect(self, cause: int) -> None:
        while self._addresses:
            family, address = self._addresses.pop(0)
            try:
                with reserve():
                    sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:  # no descriptor is left
                cause = error.errno or errno.EMFILE
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            cause = sock.connect_ex(address)
            if cause in (0, errno.EINPROGRESS):
                self._outer = _Side(sock)
                self.stage = "connecting"
                self._watch_all()
                return
            sock.close()
        self.end(proxy_unreachable(self._proxy, os.strerror(cause)))

    def _connected(self, outer: _Side) -> None:
        cause = outer.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if cause:
            self._watch(outer, 0)
            outer.socket.close()
            self._outer = None
            self._connect(cause)
            return
        self.stage = "greeting"
        outer.waiting += self._handshake.begin()
        self._write(outer)

    def _greet(self, outer: _Side) -> None:
        data = outer.socket.recv(_READ_BYTES_OF_A_PROXY)
        if not data:
            raise self._hung_up()
        self._spoke = True
        outer.waiting += self._handshake.take(data)
        if self._handshake.is_open:
            self._inner.waiting += self._handshake.rest
            self.stage = "open"
            self._on_change(self)
        self._write(outer)

    def _hung_up(self) -> FlottaError:
        return malformed(self._proxy, "it hung up before it had answered")

    def _silence(self) -> FlottaError:
        within = f"within {_LIMIT_S:g} s"
        if self._spoke:
            return target_unreachable(self._proxy, self._target, f"no answer {within}")
        return UnreachableError(
            Code.PROXY_UNREACHABLE,
            f"the proxy {self._proxy} took the connection and said nothing {within}",
            next_step=f"check its port and kind; or it waits for {self._target}: check that address too",
        )

    # --- carrying --------------------------------------------------------------------------------

    def _ready(self, side: _Side, mask: int) -> None:
        if not side.watched:
            return  # it was closed by what was ready just before
        try:
            if side is self._outer and self.stage == "connecting":
                self._connected(side)
            elif side is self._outer and self.stage == "greeting":
                if mask & selectors.EVENT_READ:
                    self._greet(side)
                else:
                    self._write(side)
            else:
                self._carry(side, mask)
        except BlockingIOError:
            pass
        except FlottaError as error:
            self.end(error)
        except OSError:
            self.end(self._hung_up() if self.stage == "greeting" else None)
        self._watch_all()

    def _carry(self, side: _Side, mask: int) -> None:
        assert self._outer is not None
        other = self._outer if side is self._inner else self._inner
        if mask & selectors.EVENT_WRITE:
            self._write(side)
        room = TUNNEL_BUFFER_BYTES - len(other.waiting)
        if mask & selectors.EVENT_READ and self.stage == "open" and room:
            data = side.socket.recv(room)
            if data:
                other.waiting += data
                self._write(other)
            else:  # one side has ended: the other one still gets what is on its way to it
                self.stage = "draining"
                self._ends_s = time.monotonic() + TUNNEL_DRAIN_MS / 1000
                side.waiting.clear()
                self._on_change(self)
        if self.stage == "draining" and not side.waiting and not other.waiting:
            self.end()

    def _write(self, side: _Side) -> None:
        while side.waiting:
            try:
                sent = side.socket.send(side.waiting)
            except BlockingIOError:
                return
            del side.waiting[:sent]

    # --- what is waited for ----------------------------------------------------------------------

    def _watch_all(self) -> None:
        outer = self._outer
        if outer is None:
            return
        if self.stage == "connecting":
            self._watch(outer, selectors.EVENT_WRITE)
        elif self.stage == "greeting":
            self._watch(outer, selectors.EVENT_READ | _to_write(outer))
        elif self.stage != "ended":
            for side, other in ((self._inner, outer), (outer, self._inner)):
                has_room = self.stage == "open" and len(other.waiting) < TUNNEL_BUFFER_BYTES
                self._watch(side, (selectors.EVENT_READ if has_room else 0) | _to_write(side))

    def _watch(self, side: _Side, events: int) -> None:
        if events == side.watched:
            return
        if not side.watched:
            self._selector.register(side.socket, events, lambda mask: self._ready(side, mask))
        elif events:
            self._selector.modify(side.socket, events, lambda mask: self._ready(side, mask))
        else:
            self._selector.unregister(side.socket)
        side.watched = events


def _to_write(side: _Side) -> int:
    return selectors.EVENT_WRITE if side.waiting else 0
