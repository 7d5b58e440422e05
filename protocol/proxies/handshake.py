"""What both kinds of proxy have in common: the form of a handshake, and the ways in which it can fail."""

from __future__ import annotations

from typing import Final, Protocol

from protocol.errors import Code, DeniedError, UnreachableError
from protocol.proxies.proxy import Proxy

# Faults of a proxy as a whole: once it has opened one way, none of them holds any longer.
FAULTS_OF_THE_PROXY: Final = (Code.PROXY_UNREACHABLE, Code.PROXY_MALFORMED, Code.PROXY_PASSWORD_WRONG)
_KINDS: Final = {"socks5": "a SOCKS 5 proxy", "http": "an HTTP proxy"}


class Handshake(Protocol):
    """What is said to a proxy until it has opened the way to one target. Bytes in, bytes out.

    Send what `begin` gives, then feed `take` with what arrives and send what it gives, until `is_open`. Bytes that
    arrived beyond the end are the target's and stand in `rest`. `take` raises UnreachableError(PROXY_MALFORMED |
    NODE_UNREACHABLE) and DeniedError(PROXY_REFUSED | PROXY_PASSWORD_WRONG); it keeps at most PROXY_HEAD_BYTES_MAX.
    """

    @property
    def is_open(self) -> bool: ...
    @property
    def rest(self) -> bytes: ...
    def begin(self) -> bytes: ...
    def take(self, data: bytes) -> bytes: ...


def malformed(proxy: Proxy, seen: str) -> UnreachableError:
    return UnreachableError(
        Code.PROXY_MALFORMED,
        f"what answers at {proxy.address} does not speak as {_KINDS[proxy.kind]}: {seen}",
        next_step="check host, port and kind (socks5:// or http://) of the proxy",
    )


def refused(proxy: Proxy, target: str, reason: str) -> DeniedError:
    return DeniedError(
        Code.PROXY_REFUSED,
        f"the proxy {proxy} does not open the way to {target}: {reason}",
        next_step=f"ask its owner to permit TCP to {target}",
    )


def target_unreachable(proxy: Proxy, target: str, reason: str) -> UnreachableError:
    return UnreachableError(
        Code.NODE_UNREACHABLE,
        f"the proxy {proxy} cannot reach {target}: {reason}",
        next_step="check the address, that the node runs, and that the proxy may reach it",
    )


def login_wrong(proxy: Proxy, seen: str) -> DeniedError:
    step = "check user and password of the proxy" if proxy.user else "write the proxy as KIND://user:password@host:port"
    return DeniedError(Code.PROXY_PASSWORD_WRONG, f"the proxy {proxy} {seen}", next_step=step)
