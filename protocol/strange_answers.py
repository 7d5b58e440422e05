"""What answers where a node was expected, by the first bytes that it says. For people; it decides nothing."""

from __future__ import annotations

from typing import Final

_BEGINNINGS: Final = (
    (b"HTTP/", "a web server answers there"),
    (b"<html", "a web server answers there"),
    (b"<!doctype html", "a web server answers there"),
    (b"\x15\x03", "a server with TLS answers there, such as an https site"),
    (b"\x16\x03", "a server with TLS answers there, such as an https site"),
    (b"SSH-", "an SSH server answers there"),
    (b"220", "a mail or file server answers there"),
    (b"\xff\x00\x00\x00\x00\x00\x00\x00", "a ZeroMQ socket answers there, perhaps another port of a node"),
)


def what_answers(said: bytes) -> str:
    """One clause without its end."""
    if not said:
        return "it hung up without an answer: it is not a flotta-p2p node, or a busy one"
    beginning = said.lstrip()[:16].lower()
    for start, what in _BEGINNINGS:
        if beginning.startswith(start.lower()):
            return f"{what}, not a flotta-p2p node"
    return "what answers there is not a flotta-p2p node"
