"""CONNECT of HTTP (RFC 9110, section 9.3.6) over HTTP/1.1, with the Basic login (RFC 7617)."""

from __future__ import annotations

import base64
import re
from typing import Final

from protocol.errors import DeniedError
from protocol.limits import PROXY_HEAD_BYTES_MAX
from protocol.proxies.handshake import login_wrong, malformed, refused, target_unreachable
from protocol.proxies.proxy import Proxy

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: ([^\r\n]*))?\r?\n")
_END: Final = re.compile(rb"\r?\n\r?\n")
_END_BYTES_MAX: Final = 4
_CHALLENGE: Final = re.compile(rb"^proxy-authenticate:[ \t]*([A-Za-z0-9_-]{1,32})", re.IGNORECASE | re.MULTILINE)
_BEGINNING: Final = b"HTTP/1."
_REASON_CHARS_MAX: Final = 60  # shown of what the proxy says
_LOGIN_WANTED: Final = 407
_TARGET_UNREACHABLE: Final = (502, 503, 504)


class Connect:
    """A `Handshake`."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._target = f"{host}:{port}"
        self._data = b""  # limits.PROXY_HEAD_BYTES_MAX
        self._taken = 0  # bytes of all heads, those of interim answers too
        self._open = False

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def rest(self) -> bytes:
        return self._data

    def begin(self) -> bytes:
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        if self._proxy.password is not None:
            login = f"{self._proxy.user}:{self._proxy.password.reveal()}".encode()
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(login).decode('ascii')}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def take(self, data: bytes) -> bytes:
        looked = max(0, len(self._data) - _END_BYTES_MAX + 1)  # an end may have begun in the piece before
        self._data += data
        while not self._open and (end := _END.search(self._data, looked, PROXY_HEAD_BYTES_MAX)) is not None:
            head, self._data, looked = self._data[: end.end()], self._data[end.end() :], 0
            self._taken += len(head)
            self._judge(head)
        if not self._open:
            self._check_beginning()
        return b""

    def _check_beginning(self) -> None:
        start = self._data[: len(_BEGINNING)]
        if start != _BEGINNING[: len(start)]:
            raise malformed(self._proxy, "its answer is not of HTTP/1")
        if self._taken + len(self._data) >= PROXY_HEAD_BYTES_MAX:
            raise malformed(self._proxy, f"its answer does not end within {PROXY_HEAD_BYTES_MAX} bytes")

    def _judge(self, head: bytes) -> None:
        line = _STATUS.match(head)
        if line is None:
            raise malformed(self._proxy, "its answer is not of HTTP/1")
        status = int(line[1])
        if 100 <= status < 200:
            return  # an interim answer: the final one follows
        if 200 <= status < 300:
            self._open = True  # whatever its head says of a body, there is none
            return
        reason = f"status {status} {_shown(line[2] or b'')}".rstrip()
        if status == _LOGIN_WANTED:
            raise self._login_wrong(head)
        if status in _TARGET_UNREACHABLE:
            raise target_unreachable(self._proxy, self._target, reason)
        raise refused(self._proxy, self._target, reason)

    def _login_wrong(self, head: bytes) -> DeniedError:
        kinds = sorted({one.decode("ascii") for one in _CHALLENGE.findall(head)})
        if kinds and "basic" not in (one.lower() for one in kinds):
            listed = " or ".join(kinds)
            return login_wrong(self._proxy, f"wants a login by {listed}; flotta-p2p knows Basic alone")
        known = "does not accept this user and password" if self._proxy.user else "wants a user and a password"
        return login_wrong(self._proxy, f"{known} (status {_LOGIN_WANTED})")


def _shown(reason: bytes) -> str:
    """What a proxy says, fit for one line of a terminal."""
    text = reason[:_REASON_CHARS_MAX].decode("ascii", "replace")
    return "".join(char if char.isprintable() and char.isascii() else "?" for char in text).strip()
