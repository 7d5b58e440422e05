"""How a node's signed key statement travels to those who do not know the node yet.

A key statement is opaque here, at most `TXT_STATEMENT_BYTES_MAX` bytes, and nothing in this module makes it
trustworthy. It travels as base64url text without padding, in two ways: cut into the strings `k0=…`, `k1=…` of
zeroconf's TXT record, or as one line of the statement server, plain TCP on the node's port + 1: the client
sends `QUESTION`, the server answers with the text and a newline.
"""

from __future__ import annotations

import base64
import binascii
import queue
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from protocol.errors import AddressError, Code, RemoteProtocolError, UnreachableError
from protocol.limits import STATEMENT_LIMIT_MS, TXT_STATEMENT_BYTES_MAX

QUESTION: Final = b"flotta-p2p statement?\n"
TEXT_CHARS_MAX: Final = -(-TXT_STATEMENT_BYTES_MAX * 4 // 3)  # base64 without padding
TXT_VALUE_CHARS: Final = 250  # with `k0=` under the 255 bytes of one TXT string (RFC 6763, section 6.1)
HOST_CHARS_MAX: Final = 253  # a DNS name (RFC 1035)
NODE_PORT_MAX: Final = 65_534  # port + 1 must exist


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


def fetch_statement(host: str, port: int, *, limit_s: float = STATEMENT_LIMIT_MS / 1000) -> bytes:
    """Ask the node at `host`:`port` for its key statement, on port + 1. Not yet verified: that is the
    caller's work.

    `port` is the node's own port, as people type it. Blocks the calling thread at most `limit_s` seconds,
    name resolution included. Raises UnreachableError(NODE_UNREACHABLE) with host, port, cause and next step,
    whatever went wrong on the way or in the answer, and AddressError for an impossible host or port.
    """
    asked = statement_port(port)
    if not 0 < len(host) <= HOST_CHARS_MAX or not host.isprintable():
        raise AddressError(Code.ADDRESS_MALFORMED, f"{host[:HOST_CHARS_MAX]!a} is not the name of a machine.")
    deadline = time.monotonic() + limit_s
    try:
        return from_text(_ask(host, asked, deadline))
    except (RemoteProtocolError, ConnectionResetError, BrokenPipeError):
        cause = "what answered there is not a flotta-p2p node, or it is too busy"
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
        next_step=f"check that the node runs and that this machine may reach its ports {port} and {asked}.",
    ) from None


def _ask(host: str, port: int, deadline: float) -> bytes:
    """One question to the first address that accepts the connection; the answer line without its newline."""
    refusal: OSError = OSError("the name has no address")
    for family, address in _resolve(host, port, deadline):
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
    line = b""
    while not line.endswith(b"\n") and len(line) <= TEXT_CHARS_MAX:
        link.settimeout(_left_s(deadline))
        part = link.recv(TEXT_CHARS_MAX + 1 - len(line))
        if not part:
            break
        line += part
    return line.removesuffix(b"\n") if line.endswith(b"\n") else b""


def _resolve(host: str, port: int, deadline: float) -> list[tuple[socket.AddressFamily, Any]]:
    """`getaddrinfo` with a limit: the resolver of the system has none, so it runs in a thread that may be
    left behind."""
    answer: queue.SimpleQueue[list[tuple[socket.AddressFamily, Any]] | OSError | ValueError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            answer.put(error)
        else:
            answer.put([(family, address) for family, _, _, _, address in found])

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        result = answer.get(timeout=_left_s(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, list):
        return result
    raise result


def _left_s(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
