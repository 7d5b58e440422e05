"""What a greeting may say."""

from __future__ import annotations

from protocol.errors import Code, RemoteProtocolError
from protocol.key_statement import Certified, verify_key_statement
from protocol.limits import INTRODUCTIONS_MAX, SOURCES_MAX
from protocol.machines.contract import Now
from protocol.names import is_name
from protocol.wire.peers import Greeting, SourceOffer


def read_greeting(
    greeting: Greeting, sender: bytes, common: frozenset[bytes], now: Now
) -> tuple[Certified, tuple[SourceOffer, ...]]:
    """The sender's statement, and what it offers to the projects in common. Raises RemoteProtocolError."""
    certified = verify_key_statement(greeting.statement, now.wall_ms)
    if certified.node != sender:
        raise RemoteProtocolError(Code.SENDER_WRONG, "a greeting with another node's statement")
    sources = dict.fromkeys(one for one in greeting.sources if one.project in common and is_name(one.name))
    if len(sources) > SOURCES_MAX * len(common) or len(greeting.introductions) > INTRODUCTIONS_MAX:
        raise RemoteProtocolError(
            Code.BODY_MALFORMED,
            f"a greeting with more than {SOURCES_MAX} sources for a project or {INTRODUCTIONS_MAX} introductions",
        )
    return certified, tuple(sources)
