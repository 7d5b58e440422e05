"""A router that hides the machines behind it, as a home or a hospital has one: source addresses of what goes out become
its own, and nothing from outside finds a way in.

The rule is given to the kernel over netlink, since the `nft` command is often not installed:

    table ip nat { chain out { type nat hook postrouting priority 100; masquerade } }

    ip netns exec ROUTER python -m tests.system.masquerade
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

_NETFILTER: Final = 12  # NETLINK_NETFILTER
_TABLES: Final = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = ((_TABLES << 8) | number for number in (0, 3, 6))
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_NESTED: Final = 0x8000
_ERROR: Final = 2  # NLMSG_ERROR, which also carries success
_POST_ROUTING, _PRIORITY = 4, 100


def _attribute(kind: int, value: bytes) -> bytes:
    data = struct.pack("=HH", 4 + len(value), kind) + value
    return data + bytes(-len(data) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _nest(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(parts))


def _message(kind: int, flags: int, number: int, body: bytes = b"", *, resource: int = 0) -> bytes:
    family = socket.AF_INET if body else socket.AF_UNSPEC
    payload = struct.pack(">BBH", family, 0, resource) + body
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, number, 0) + payload


def masquerade() -> None:
    """In this process's network namespace. Raises OSError with the kernel's reason."""
    hook = _nest(4, _attribute(1, struct.pack(">I", _POST_ROUTING)), _attribute(2, struct.pack(">I", _PRIORITY)))
    rule = _nest(4, _nest(1, _text(1, "masq"), _nest(2)))
    made = _REQUEST | _ACK | _CREATE
    batch = (
        _message(_BATCH_BEGIN, _REQUEST, 0, resource=_TABLES),
        _message(_NEW_TABLE, made, 1, _text(1, "nat")),
        _message(_NEW_CHAIN, made, 2, _text(1, "nat") + _text(3, "out") + hook + _text(7, "nat")),
        _message(_NEW_RULE, made | _APPEND, 3, _text(1, "nat") + _text(2, "out") + rule),
        _message(_BATCH_END, _REQUEST, 4, resource=_TABLES),
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as link:
        link.settimeout(5)
        link.bind((0, 0))
        link.send(b"".join(batch))
        acknowledged = 0
        while acknowledged < 3:
            data = link.recv(65_536)
            while data:
                length, kind = struct.unpack("=IH", data[:6])
                code = struct.unpack("=i", data[16:20])[0] if kind == _ERROR else 0
                if code:
                    raise OSError(-code, "the kernel took no masquerading rule")
                acknowledged += kind == _ERROR
                data = data[(length + 3) & ~3 :]


if __name__ == "__main__":
    masquerade()
    sys.exit(0)
