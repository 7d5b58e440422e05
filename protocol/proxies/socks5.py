"""SOCKS 5 (RFC 1928), with user and password (RFC 1929). Names go to the proxy as they are: it resolves them."""

from __future__ import annotations

import ipaddress
from typing import Final, Literal

from protocol.proxies.handshake import login_wrong, malformed, refused, target_unreachable
from protocol.proxies.proxy import Proxy

VERSION: Final = 5
LOGIN_VERSION: Final = 1
NO_LOGIN: Final = 0
BY_PASSWORD: Final = 2
NOTHING_ACCEPTABLE: Final = 0xFF
CONNECT: Final = 1
BY_IPV4: Final = 1
BY_NAME: Final = 3
BY_IPV6: Final = 4
_OF_THE_PROXY: Final = {
    1: "it failed and does not say why",
    2: "its rules do not allow it",
    7: "it does not know the command CONNECT",
    8: "it does not take this kind of address",
}
_OF_THE_TARGET: Final = {
    3: "the network is unreachable",
    4: "the host is unreachable, or its name is not known",
    5: "the connection was refused",
    6: "it took too many hops",
}
_Stage = Literal["method", "login", "reply", "open"]


class Socks5:
    """A `Handshake`."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._host = host
        self._port = port
        self._stage: _Stage = "method"
        self._data = b""  # a reply has at most 262 bytes

    @property
    def is_open(self) -> bool:
        return self._stage == "open"

    @property
    def rest(self) -> bytes:
        return self._data

    def begin(self) -> bytes:
        methods = (NO_LOGIN, BY_PASSWORD) if self._proxy.user else (NO_LOGIN,)
        return bytes((VERSION, len(methods), *methods))

    def take(self, data: bytes) -> bytes:
        self._data += data
        sent, before = b"", None
        while before != self._stage:
            before = self._stage
            sent += self._step()
        return sent

    def _step(self) -> bytes:
        """Takes one answer of the proxy, if the whole of it is there; what to say next."""
        match self._stage:
            case "method":
                return self._method()
            case "login":
                return self._login()
            case "reply":
                self._reply()
        return b""

    def _method(self) -> bytes:
        self._check_version(VERSION)
        if len(self._data) < 2:
            return b""
        chosen, self._data = self._data[1], self._data[2:]
        if chosen == NO_LOGIN:
            self._stage = "reply"
            return self._request()
        if chosen == BY_PASSWORD and self._proxy.password is not None:
            self._stage = "login"
            user, password = self._proxy.user.encode(), self._proxy.password.reveal().encode()
            return bytes((LOGIN_VERSION, len(user))) + user + bytes((len(password),)) + password
        if chosen == NOTHING_ACCEPTABLE:
            raise login_wrong(self._proxy, "wants another login" if self._proxy.user else "wants a user and a password")
        raise malformed(self._proxy, f"it chose login {chosen}, which was not offered")

    def _login(self) -> bytes:
        self._check_version(LOGIN_VERSION)
        if len(self._data) < 2:
            return b""
        status, self._data = self._data[1], self._data[2:]
        if status:
            raise login_wrong(self._proxy, "does not accept this user and password")
        self._stage = "reply"
        return self._request()

    def _request(self) -> bytes:
        try:
            address = bytes((BY_IPV4,)) + ipaddress.IPv4Address(self._host).packed
        except ValueError:
            name = self._host.encode("ascii")
            address = bytes((BY_NAME, len(name))) + name
        return bytes((VERSION, CONNECT, 0)) + address + self._port.to_bytes(2)

    def _reply(self) -> None:
        self._check_version(VERSION)
        if len(self._data) < 2:
            return
        if self._data[1]:  # what follows is of no use then, and some proxies leave it out
            self._refused(self._data[1])
        if len(self._data) < 5:
            return
        length = {BY_IPV4: 4, BY_IPV6: 16, BY_NAME: 1 + self._data[4]}.get(self._data[3])
        if length is None:
            raise malformed(self._proxy, f"it answered with an address of the unknown kind {self._data[3]}")
        if len(self._data) >= 4 + length + 2:
            self._data = self._data[4 + length + 2 :]
            self._stage = "open"

    def _refused(self, reply: int) -> None:
        target = f"{self._host}:{self._port}"
        if reply in _OF_THE_TARGET:
            raise target_unreachable(self._proxy, target, _OF_THE_TARGET[reply])
        raise refused(self._proxy, target, _OF_THE_PROXY.get(reply, f"reply {reply}"))

    def _check_version(self, expected: int) -> None:
        if self._data and self._data[0] != expected:
            raise malformed(self._proxy, f"its answer begins with the byte {self._data[0]}")
