"""Which handshake a proxy wants."""

from __future__ import annotations

from protocol.proxies.connect import Connect
from protocol.proxies.handshake import Handshake
from protocol.proxies.proxy import Proxy
from protocol.proxies.socks5 import Socks5


def new_handshake(proxy: Proxy, host: str, port: int) -> Handshake:
    """For one way to `host`:`port`, both as `parse_address` gives them."""
    return Socks5(proxy, host, port) if proxy.kind == "socks5" else Connect(proxy, host, port)
