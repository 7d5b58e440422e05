"""What an operator can send to whoever owns the firewall, or the proxy."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Final

from protocol.proxies.proxy import Proxy

_LINE_CHARS: Final = 78  # of a mail
_TEXT_AT: Final = 14
_WHY: Final = (
    "flotta-p2p computes statistics over tables that stay where they are. This machine joins the computation through "
    "the node named as destination, and only ever opens the connection itself."
)
_CONTENT: Final = (
    "ZeroMQ (ZMTP 3.1) over TCP, encrypted and authenticated from end to end by CURVE. It is neither HTTP nor TLS: "
    "inspection must let it pass as it is. It stays open for hours and says something every few seconds."
)


@dataclass(frozen=True)
class FirewallRequest:
    """`source` "" when this machine has no route. `statement_port` is asked once, at a join by a typed address."""

    source: str
    host: str
    addresses: tuple[str, ...]
    port: int
    statement_port: int
    proxy: Proxy | None

    def values(self) -> dict[str, object]:
        return {
            "source": self.source,
            "destination": self.host,
            "addresses": list(self.addresses),
            "ports": [self.port, self.statement_port],
            "protocol": "TCP",
            "direction": "outbound",
            "proxy": str(self.proxy) if self.proxy is not None else "",
            "text": "\n".join(self.lines()),
        }

    def lines(self) -> list[str]:
        """For a mail."""
        rows = [
            ("source", self.source or "this machine"),
            ("destination", self._destination()),
            ("port", f"{self.port}, TCP"),
            ("port, once", f"{self.statement_port}, TCP: the key of that node, when this machine joins it"),
            ("direction", "outbound only; nothing inbound"),
            ("content", _CONTENT),
            ("why", _WHY),
        ]
        if self.proxy is not None:
            rows.insert(0, ("proxy", f"{self.proxy}: CONNECT to the destination below, names resolved by the proxy"))
        return [self._opening(), "", *(line for name, text in rows for line in _wrapped(name, text))]

    def _opening(self) -> str:
        if self.proxy is None:
            return "Please permit this connection through the firewall:"
        return "Please permit this connection through the proxy, and to the proxy through the firewall:"

    def _destination(self) -> str:
        known = ", ".join(one for one in self.addresses if one != self.host)
        return f"{self.host} ({known})" if known else self.host


def _wrapped(name: str, text: str) -> list[str]:
    first, later = f"{name + ':':<{_TEXT_AT}}", " " * _TEXT_AT
    return textwrap.wrap(
        text, _LINE_CHARS, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )
