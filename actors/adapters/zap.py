"""Who may connect, as ZeroMQ asks it (ZAP, RFC 27 of the ZeroMQ project). Pure: bytes in, bytes out.

The door knows three classes of CURVE keys: a peer's own key (User-Id `node:<id>`), a project's door key
(`door:<project>`), and anything else, which is refused with status 300: after it a DEALER tries again, and is let
in once its key is known.
"""

from __future__ import annotations

from typing import Final

from protocol.record import Record

DOMAIN: Final = "flotta-p2p-main"


class Allowed(Record, frozen=True):
    """Who may connect: CURVE public key → node id, and door public key → project id."""

    nodes: dict[bytes, bytes]
    doors: dict[bytes, bytes]


def answer_zap(parts: list[bytes], allowed: Allowed) -> list[bytes] | None:
    """The reply to one ZAP request [route…, b"", version, request id, domain, address, identity, mechanism, key], or
    None when it is none; then the handshake times out, which refuses as well. Never raises. Source: RFC 27 (ZAP) of
    the ZeroMQ project.
    """
    try:
        gap = parts.index(b"")
    except ValueError:
        return None
    request = parts[gap + 1 :]
    if len(request) < 2:
        return None
    status, user = b"300", b""
    if len(request) == 7 and request[0] == b"1.0" and request[2] == DOMAIN.encode() and request[5] == b"CURVE":
        node, project = allowed.nodes.get(request[6]), allowed.doors.get(request[6])
        if project is not None:  # first: a member that certifies the door key as its own must not shut the door
            status, user = b"200", b"door:" + project.hex().encode()
        elif node is not None:
            status, user = b"200", b"node:" + node.hex().encode()
    text = b"OK" if status == b"200" else b"not known here"
    return [*parts[: gap + 1], b"1.0", request[1], status, text, user, b""]


def asker_address(parts: list[bytes]) -> bytes:
    """Of a request that was answered with 200: the IP address that it comes from, as libzmq sees it."""
    return parts[parts.index(b"") + 4]


def is_door(user: bytes) -> bool:
    return user.startswith(b"door:")


def refusal(reply: list[bytes]) -> list[bytes]:
    """The same reply with a no."""
    return [*reply[:-4], b"300", b"not now", b"", b""]


def refuses(reply: list[bytes]) -> bool:
    return reply[-4] == b"300"
