"""The key statement: an identity key certifies a transport (CURVE) key and says where the node can be reached.

It travels in zeroconf's TXT records, over the statement port, and at the door. It is a hint, not trusted until the
proof at the door.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from protocol.errors import AddressError, Code, RemoteProtocolError
from protocol.ids import node_id
from protocol.limits import (
    ADDRESSES_PER_NODE_MAX,
    CLOCK_TOLERANCE_MS,
    NAME_CHARS_MAX,
    PROJECTS_MAX,
    TXT_STATEMENT_BYTES_MAX,
)
from protocol.record import Record
from protocol.signing import (
    KEY_STATEMENT,
    SigningKey,
    check_public_key,
    envelope_bytes,
    open_statement,
    sign_statement,
)
from protocol.wire.codec import decode_record, encode_record

LIFE_MS = 90 * 86_400_000
RENEW_MS = 86_400_000  # re-signed daily, at every start and on every change


class KeyStatement(Record, frozen=True):
    """`sequence` rises with every statement of a node; receivers keep the highest. `hints` let members recognise a
    project. `seal_key` (X25519): what travels through another node is sealed for it. A client has no addresses.
    """

    version: Literal[1]
    curve_key: bytes
    seal_key: bytes
    addresses: tuple[str, ...]
    sequence: int
    not_after_ms: int
    name: str
    hints: tuple[bytes, ...] = ()


class Certified(Record, frozen=True):
    """A key statement whose signature holds: who says it, and the bytes as received."""

    node: bytes
    node_key: bytes
    statement: KeyStatement
    data: bytes

    @property
    def is_client(self) -> bool:
        """Whether nobody can dial it: it dials its schedulers, and others reach it through them."""
        return not self.statement.addresses


def sign_key_statement(statement: KeyStatement, key: SigningKey) -> bytes:
    """The envelope. Hints that do not fit into a TXT record are left out, the last first: whoever shows its own is
    knocked at all the same. With a short name and one address all PROJECTS_MAX fit; with the longest, 18.
    """
    while True:
        data = envelope_bytes(sign_statement(KEY_STATEMENT, encode_record(statement), key))
        if len(data) <= TXT_STATEMENT_BYTES_MAX or not statement.hints:
            return data
        statement = KeyStatement(
            version=1,
            curve_key=statement.curve_key,
            seal_key=statement.seal_key,
            addresses=statement.addresses,
            sequence=statement.sequence,
            not_after_ms=statement.not_after_ms,
            name=statement.name,
            hints=statement.hints[:-1],
        )


def verify_key_statement(data: bytes, now_wall_ms: int) -> Certified:
    """Raises RemoteProtocolError for anything but a well-formed, signed statement that has not expired."""
    if len(data) > TXT_STATEMENT_BYTES_MAX:
        raise RemoteProtocolError(
            Code.STATEMENT_MALFORMED, f"a key statement has at most {TXT_STATEMENT_BYTES_MAX} bytes"
        )
    opened = open_statement(data, KEY_STATEMENT)
    check_public_key(opened.signer)
    statement = decode_record(opened.payload, KeyStatement, bytes_max=TXT_STATEMENT_BYTES_MAX)
    if (
        len(statement.curve_key) != 32
        or len(statement.seal_key) != 32
        or len(statement.name) > NAME_CHARS_MAX
        or not statement.name.isprintable()
        or len(statement.addresses) > ADDRESSES_PER_NODE_MAX
        or len(statement.hints) > PROJECTS_MAX
    ):
        raise RemoteProtocolError(Code.STATEMENT_MALFORMED, "a field of the key statement is outside its bounds")
    for address in statement.addresses:
        try:
            check_address(address)
        except AddressError as error:
            raise RemoteProtocolError(Code.STATEMENT_MALFORMED, str(error)) from error
    if now_wall_ms > statement.not_after_ms + CLOCK_TOLERANCE_MS:
        raise RemoteProtocolError(Code.TIME_OUTSIDE, "the key statement has expired")
    return Certified(node=node_id(opened.signer), node_key=opened.signer, statement=statement, data=data)


def parse_address(text: str, *, default_port: int | None = None) -> tuple[str, int]:
    """(host, port) of `host:port`; `http://` and `https://` are accepted and mean the same. Raises AddressError."""
    rest = text.strip()
    for scheme in ("http://", "https://", "tcp://"):
        rest = rest.removeprefix(scheme)
    rest = rest.rstrip("/")
    host, colon, port_text = rest.rpartition(":")
    if not colon and default_port is not None:
        host, port_text = rest, str(default_port)
    allowed = host.replace("-", "").replace(".", "").replace("_", "")
    if not host or len(host) > 253 or not allowed.isascii() or not allowed.isalnum():
        raise AddressError(
            Code.ADDRESS_MALFORMED,
            f"{text[:80]!r} is no address",
            next_step="write host:port, for example 192.168.1.20:1456",
        )
    digits = port_text.isascii() and port_text.isdigit() and len(port_text) <= 5
    if not digits or not 0 < int(port_text) < 65_536:
        raise AddressError(
            Code.ADDRESS_MALFORMED,
            f"{text[:80]!r} has no port from 1 to 65535",
            next_step="write host:port, for example lab:1456",
        )
    return host, int(port_text)


def check_address(text: str) -> None:
    """Of another machine: `host:port` as `parse_address` gives them, and nothing around it. Raises AddressError."""
    host, port = parse_address(text)
    if text != f"{host}:{port}":
        raise AddressError(Code.ADDRESS_MALFORMED, f"{text[:80]!r} is not in the form host:port")


def hints_match(certified: Certified, hints: Iterable[bytes]) -> bool:
    """Whether one of our projects' hints for that node stands in its statement."""
    return not set(hints).isdisjoint(certified.statement.hints)
