"""The tunnel: what ZeroMQ and others connect to in place of an address that only a proxy reaches.

For each address that is dialled it listens on a Unix socket in a folder of this process alone. Each connection there
becomes a passage: a connection to the proxy, which opens the way. So one mechanism serves ZeroMQ, which speaks only
SOCKS 5 by itself, and the fetch of key statements; and a process that is given the path of such a socket needs to
know neither proxy nor password.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from actors.adapters.descriptors import reserve
from actors.adapters.passage import Passage, proxy_unreachable
from actors.adapters.resolving import Found, SocketAddress, look_up
from actors.adapters.route import DIRECT, Route
from actors.adapters.runtime_folder import SocketFolder
from protocol.errors import Code, ConfigError, FlottaError, UnreachableError
from protocol.key_statement import parse_address
from protocol.limits import (
    PROXY_OPEN_LIMIT_MS,
    TUNNEL_BACKOFF_MS_MAX,
    TUNNEL_BACKOFF_MS_MIN,
    TUNNEL_NAME_KEEP_MS,
    TUNNEL_PASSAGES_MAX,
    TUNNEL_PATIENCE_MS,
    TUNNEL_PROBLEMS_MAX,
    TUNNEL_WAYS_MAX,
)
from protocol.proxies.handshake import FAULTS_OF_THE_PROXY
from protocol.proxies.proxy import Proxy
from protocol.proxies.speak import new_handshake

_log = logging.getLogger(__name__)
_TICK_S: Final = 0.1
_STOP_LIMIT_S: Final = 2.0


class TunnelWay:
    """A `Way` to one address. `opened` counts how often the proxy has opened it."""

    def __init__(self, tunnel: Tunnel, address: str, path: Path) -> None:
        """Raises AddressError, OSError."""
        self.host, self.port = parse_address(address)
        self.address = f"{self.host}:{self.port}"
        self.socket_path = str(path)
        self.endpoint = f"ipc://{path}"
        self.opened = 0
        self.failures = 0  # in a row
        self.error: FlottaError | None = None
        self.not_before_s = 0.0  # of time.monotonic: when the proxy may be asked again
        self.passages: list[Passage] = []  # limits.TUNNEL_PASSAGES_MAX, the oldest first
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._tunnel = tunnel
        try:
            self.listener.bind(self.socket_path)
            self.listener.listen(TUNNEL_PASSAGES_MAX)
            self.listener.setblocking(False)
        except OSError:
            self.listener.close()
            raise

    def problem(self) -> FlottaError | None:
        return self.error

    def close(self) -> None:
        self._tunnel.leave(self)


class Tunnel:
    """A `Route`. One thread carries all bytes; `fail` is called in it when it ends without having been asked to."""

    opening_ms = PROXY_OPEN_LIMIT_MS
    patience_ms = TUNNEL_PATIENCE_MS

    def __init__(self, proxy: Proxy, fail: Callable[[FlottaError], None]) -> None:
        """Starts the thread. Raises ConfigError(FOLDER_UNUSABLE)."""
        self._proxy = proxy
        self._fail = fail
        self._folder = SocketFolder()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # for _ways and _problems
        self._ways: dict[str, TunnelWay] = {}  # limits.TUNNEL_WAYS_MAX
        self._problems: dict[str, FlottaError] = {}  # limits.TUNNEL_PROBLEMS_MAX: of addresses that are not open since
        self._news: deque[Callable[[], None]] = deque()  # bounded by the ways, and one name
        self._timed: set[Passage] = set()  # those that are not open yet, or about to end; bounded by the ways
        self._addresses: list[SocketAddress] = []  # of the proxy
        self._known_until_s = 0.0
        self._asked_s: float | None = None  # since when its name is asked for
        self._opened = 0
        self._failed = 0
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        for sock in (self._wake_in, self._wake_out):
            sock.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, lambda _: self._hear())
        self._thread = threading.Thread(target=self._run, name="tunnel", daemon=True)
        self._thread.start()

    # --- any thread ------------------------------------------------------------------------------

    def way(self, address: str) -> TunnelWay:
        with self._lock:
            if len(self._ways) >= TUNNEL_WAYS_MAX:
                raise UnreachableError(
                    Code.BUSY, f"{TUNNEL_WAYS_MAX} ways through the proxy are in use", next_step="try again later"
                )
            path = self._folder.path / f"{next(self._numbers)}"
            try:
                with reserve():
                    way = TunnelWay(self, address, path)
            except OSError as error:
                raise ConfigError(
                    Code.FOLDER_UNUSABLE,
                    f"no socket can be made at {path}: {error.strerror or error}",
                    next_step="set XDG_RUNTIME_DIR to a folder of this user with a short path",
                ) from error
            self._ways[way.socket_path] = way
        self._tell(lambda: self._listen(way))
        return way

    def leave(self, way: TunnelWay) -> None:
        """Closes a way and what runs over it. Twice is as once."""
        with self._lock:
            known = self._ways.pop(way.socket_path, None)
        if known is not None:
            self._tell(lambda: self._close_way(way))

    def values(self) -> dict[str, Any]:
        with self._lock:
            ways, problems = len(self._ways), dict(self._problems)
        return {
            "proxy": str(self._proxy),
            "ways": ways,
            "opened": self._opened,
            "failed": self._failed,
            "problems": [
                {"address": address, "code": error.code.value, "sentence": error.sentence, "next_step": error.next_step}
                for address, error in problems.items()
            ],
        }

    def close(self) -> None:
        """Waits for at most two seconds."""
        self._stopping = True
        self._wake()
        self._thread.join(_STOP_LIMIT_S)
        self._folder.close()

    def _tell(self, news: Callable[[], None]) -> None:
        self._news.append(news)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is awake already, or gone
            self._wake_in.send(b"\0")

    # --- the tunnel's thread ---------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key, mask in self._selector.select(_TICK_S if self._timed else None):
                    key.data(mask)
                self._tick()
        except Exception as error:  # the outermost frame of this thread
            _log.exception("the tunnel stopped")
            self._fail(UnreachableError(Code.ACTOR_FAILED, f"the tunnel stopped: {error!r}"))
        finally:
            self._close_all()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_out.recv(4096):
                pass
        while self._news:
            self._news.popleft()()

    def _tick(self) -> None:
        now_s = time.monotonic()
        for passage in tuple(self._timed):
            passage.tick(now_s)
        waiting = [way for way in self._ways_with_a_waiting_passage() if way.not_before_s <= now_s]
        if waiting and self._knows_the_proxy(now_s):
            for way in waiting:
                for passage in tuple(way.passages):
                    if passage.stage == "waiting":
                        passage.start(self._addresses)

    def _ways_with_a_waiting_passage(self) -> list[TunnelWay]:
        if not any(passage.stage == "waiting" for passage in self._timed):
            return []
        with self._lock:
            ways = list(self._ways.values())
        return [way for way in ways if any(passage.stage == "waiting" for passage in way.passages)]

    # --- ways ------------------------------------------------------------------------------------

    def _listen(self, way: TunnelWay) -> None:
        self._selector.register(way.listener, selectors.EVENT_READ, lambda _: self._accept(way))

    def _close_way(self, way: TunnelWay) -> None:
        for passage in tuple(way.passages):
            passage.end()
        self._selector.unregister(way.listener)
        way.listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(way.socket_path)  # noqa: PTH108 (it is a text, for ZeroMQ)

    def _accept(self, way: TunnelWay) -> None:
        try:
            with reserve():
                inner, _ = way.listener.accept()
        except OSError:
            return
        if len(way.passages) >= TUNNEL_PASSAGES_MAX:  # its program has left it, or is about to
            way.passages[0].end()
        passage = Passage(
            self._proxy,
            way.address,
            inner,
            new_handshake(self._proxy, way.host, way.port),
            self._selector,
            on_change=lambda one: self._changed(way, one),
            on_end=lambda one, error: self._ended(way, one, error),
        )
        way.passages.append(passage)
        self._timed.add(passage)

    def _changed(self, way: TunnelWay, passage: Passage) -> None:
        if passage.stage == "draining":
            self._timed.add(passage)
            return
        self._timed.discard(passage)
        self._opened += 1
        way.opened += 1
        way.failures, way.error = 0, None
        with self._lock:
            for address, error in tuple(self._problems.items()):
                if address == way.address or error.code in FAULTS_OF_THE_PROXY:
                    del self._problems[address]

    def _ended(self, way: TunnelWay, passage: Passage, error: FlottaError | None) -> None:
        self._timed.discard(passage)
        way.passages.remove(passage)
        if error is None:
            return
        self._failed += 1
        way.failures += 1
        way.error = error
        with self._lock:
            self._problems.pop(way.address, None)
            self._problems[way.address] = error
            while len(self._problems) > TUNNEL_PROBLEMS_MAX:
                del self._problems[next(iter(self._problems))]
        pause_ms = min(TUNNEL_BACKOFF_MS_MAX, TUNNEL_BACKOFF_MS_MIN << min(way.failures, 10))
        way.not_before_s = time.monotonic() + pause_ms / 1000

    # --- the name of the proxy -------------------------------------------------------------------

    def _knows_the_proxy(self, now_s: float) -> bool:
        """Whether its addresses are known; else they are asked for, and who waits goes on waiting."""
        if now_s < self._known_until_s:
            return True
        if self._asked_s is None:
            self._asked_s = now_s
            look_up(self._proxy.host, self._proxy.port, lambda found: self._tell(lambda: self._found(found)))
        elif now_s - self._asked_s > PROXY_OPEN_LIMIT_MS / 1000:
            self._end_waiting("its name gets no answer")
        return False

    def _found(self, found: Found) -> None:
        self._asked_s = None
        if isinstance(found, list):
            self._addresses = found
            self._known_until_s = time.monotonic() + TUNNEL_NAME_KEEP_MS / 1000
        else:
            cause = found.strerror if isinstance(found, OSError) else None
            self._end_waiting(f"its name is not known ({cause or found})")

    def _end_waiting(self, cause: str) -> None:
        for passage in tuple(self._timed):
            if passage.stage == "waiting":
                passage.end(proxy_unreachable(self._proxy, cause))

    def _close_all(self) -> None:
        with self._lock:
            ways, self._ways = list(self._ways.values()), {}
        while self._news:  # a way that was just opened must be known here before it can be closed
            self._news.popleft()()
        for way in ways:
            self._close_way(way)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()


def route_by(proxy: Proxy | None, fail: Callable[[FlottaError], None]) -> Route:
    """By the proxy, if there is one. Raises ConfigError(FOLDER_UNUSABLE)."""
    return DIRECT if proxy is None else Tunnel(proxy, fail)
