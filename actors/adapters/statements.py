"""How a node's signed key statement travels to those who do not know the node yet.

A key statement is opaque here, at most `TXT_STATEMENT_BYTES_MAX` bytes, and nothing in this module makes it
trustworthy. It travels as base64url text without padding, in two ways: cut into the strings `k0=…`, `k1=…` of
zeroconf's TXT record, or as one line of the statement server, plain TCP on the node's port + 1: the client
sends `QUESTION`, the server answers with the text, a space, its clock in milliseconds since 1970, and a newline.
The clock is not signed: it helps a person to compare two clocks, and decides nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
import socket
import time
from collections.abc import Mapping
from typing import Final

from actors.adapters.resolving import resolve
from protocol.errors import AddressError, Code, RemoteProtocolError, UnreachableError
from protocol.limits import STATEMENT_LIMIT_MS, TXT_STATEMENT_BYTES_MAX, WALL_MS_MAX
from protocol.record import Record
from protocol.strange_answers import what_answers

QUESTION: Final = b"flotta-p2p statement?\n"
TEXT_CHARS_MAX: Final = -(-TXT_STATEMENT_BYTES_MAX * 4 // 3)  # base64 without padding
LINE_BYTES_MAX: Final = TEXT_CHARS_MAX + 17  # with a space, 15 digits and the newline
TXT_VALUE_CHARS: Final = 250  # with `k0=` under the 255 bytes of one TXT string (RFC 6763, section 6.1)
HOST_CHARS_MAX: Final = 253  # a DNS name (RFC 1035)
NODE_PORT_MAX: Final = 65_534  # port + 1 must exist
_LINE: Final = re.compile(rb"([A-Za-z0-9_-]+) (0|[1-9][0-9]{0,14})\n")


def to_text(statement: bytes) -> str:
    """The statement as base64url without padding."""
    return base64.urlsafe_b64encode(statement).rstrip(b"=").decode("ascii")


def from_text(text: bytes) -> bytes:
    """The statement behind its text. Only the one text that `to_text` makes is accepted.

    Raises RemoteProtocolError(STATEMENT_MALFORMED) for anything else, for an empty one and for one beyond the
    limit.
    """
    if not 0 < len(text) <= TEXT_CHARS_MAX:
        raise RemoteProtocolError(Code.STATEMENT_MALFORMED, f"key statement of {len(text)} characters")
    try:
        statement = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        raise RemoteProtocolError(Code.STATEMENT_MALFORMED, "key statement is not base64url") from None
    if to_text(statement).encode("ascii") != text:
        raise RemoteProtocolError(Code.STATEMENT_MALFORMED, "key statement is not base64url")
    return statement


def to_txt(statement: bytes) -> dict[str, str]:
    """The statement as the keys and values of a TXT record, each string under 255 bytes."""
    text = to_text(statement)
    pieces = [text[at : at + TXT_VALUE_CHARS] for at in range(0, len(text), TXT_VALUE_CHARS)]
    return {f"k{number}": piece for number, piece in enumerate(pieces)}


def from_txt(properties: Mapping[bytes, bytes | None]) -> bytes:
    """The statement in a TXT record that holds `k0`, `k1`, … and nothing else, as zeroconf gives it.

    Raises RemoteProtocolError(STATEMENT_MALFORMED).
    """
    pieces = [properties.get(b"k%d" % number) for number in range(len(properties))]
    known = [piece for piece in pieces if piece is not None]
    if len(known) != len(properties):
        raise RemoteProtocolError(Code.STATEMENT_MALFORMED, "TXT record has keys other than k0, k1, …")
    return from_text(b"".join(known))


def statement_port(port: int) -> int:
    """The port of the statement server of the node at `port`. Raises AddressError when there is none."""
    if not 0 < port <= NODE_PORT_MAX:
        raise AddressError(
            Code.ADDRESS_MALFORMED,
            f"A node's port is 1 to {NODE_PORT_MAX}, since it also uses the next; seen: {port}.",
        )
    return port + 1


class StatementAnswer(Record, frozen=True):
    """What a statement server said: a key statement that nobody has verified yet, and the clock of its machine."""

    statement: bytes
    wall_ms: int


def to_line(statement_text: bytes, wall_ms: int) -> bytes:
    """The answer line of the statement server."""
    return b"%s %d\n" % (statement_text, wall_ms)


def from_line(line: bytes) -> StatementAnswer:
    """The answer in a line with its newline. Raises RemoteProtocolError(STATEMENT_MALFORMED)."""
    match = _LINE.fullmatch(line)
    if match is None or int(match[2]) > WALL_MS_MAX:
        raise RemoteProtocolError(Code.STATEMENT_MALFORMED, "not the line of a statement server")
    return StatementAnswer(statement=from_text(match[1]), wall_ms=int(match[2]))


def fetch_statement(
    host: str, port: int, *, limit_s: float = STATEMENT_LIMIT_MS / 1000, through: str = ""
) -> StatementAnswer:
    """Ask the node at `host`:`port` for its key statement, on port + 1. Not yet verified: that is the
    caller's work.

    `port` is the node's own port, as people type it. `through` is the path of a Unix socket that leads to
    port + 1, "" when it is dialled directly. Blocks the calling thread at most `limit_s` seconds,
    name resolution included. Raises UnreachableError(NODE_UNREACHABLE) with host, port, cause and next step,
    whatever went wrong on the way or in the answer, and AddressError for an impossible host or port.
    """
    asked = statement_port(port)
    if not 0 < len(host) <= HOST_CHARS_MAX or not host.isprintable():
        raise AddressError(Code.ADDRESS_MALFORMED, f"{host[:HOST_CHARS_MAX]!a} is not the name of a machine.")
    deadline = time.monotonic() + limit_s
    line = b""
    try:
        line = _ask(host, asked, through, deadline)
        return from_line(line)
    except (RemoteProtocolError, ConnectionResetError, BrokenPipeError):
        cause = what_answers(line)
    except TimeoutError:
        cause = f"no answer within {limit_s:g} s"
    except socket.gaierror as error:
        cause = f"the name is not known ({error.strerror})"
    except OSError as error:
        cause = error.strerror or str(error)
    except ValueError:
        cause = "this is not the name of a machine"
    raise UnreachableError(
        Code.NODE_UNREACHABLE,
        f"The key of the node at {host}:{port} could not be fetched from {host} port {asked}: {cause}.",
        next_step=f"check that the node runs and that this machine may reach its ports {port} and {asked}: "
        f"flotta-p2p doctor --to {host}:{port}",
    ) from None


def _ask(host: str, port: int, through: str, deadline: float) -> bytes:
    """One question to the first address that accepts the connection; what is answered."""
    where = [(socket.AF_UNIX, through)] if through else resolve(host, port, _left_s(deadline))
    refusal: OSError = OSError("the name has no address")
    for family, address in where:
        with socket.socket(family, socket.SOCK_STREAM) as link:
            try:
                link.settimeout(_left_s(deadline))
                link.connect(address)
            except OSError as error:
                refusal = error
                continue
            link.sendall(QUESTION)
            return _read_line(link, deadline)
    raise refusal


def _read_line(link: socket.socket, deadline: float) -> bytes:
    """Up to its newline; less when the other side ends, or says more than an answer can have."""
    line = b""
    while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
        link.settimeout(_left_s(deadline))
        part = link.recv(LINE_BYTES_MAX - len(line))
        if not part:
            break
        line += part
    return line


def _left_s(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
