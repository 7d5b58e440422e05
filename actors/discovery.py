"""What a node and its discovery process say to each other, over the channel of every child process (`actors.framing`).

A message is UTF-8 JSON of at most `DISCOVERY_FRAME_BYTES_MAX`; bytes stand in it as base64. The node sends commands
(`Announce`, `Fetch`, `Stop`), the process sends events. It parses the packets of strangers, so its events are hints
from a process that may have been taken over: they are decoded strictly, and nothing in them is believed before it is
proved elsewhere.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, TypeVar

import msgspec

from actors.adapters.runtime_folder import SOCKET_PATH_BYTES_MAX
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import ADDRESSES_PER_NODE_MAX, DISCOVERY_FRAME_BYTES_MAX, TXT_STATEMENT_BYTES_MAX
from protocol.record import Record

INSTANCE_BYTES_MAX: Final = 63  # one DNS label (RFC 1035)
PREFIX_CHARS_MAX: Final = 40  # leaves room for a dash and the random suffix
SENTENCE_CHARS_MAX: Final = 1_000  # a problem told to people

Statement = Annotated[bytes, msgspec.Meta(min_length=1, max_length=TXT_STATEMENT_BYTES_MAX)]
Sentence = Annotated[str, msgspec.Meta(max_length=SENTENCE_CHARS_MAX)]
Instance = Annotated[str, msgspec.Meta(min_length=1, max_length=INSTANCE_BYTES_MAX)]
NodePort = Annotated[int, msgspec.Meta(ge=1, le=65_534)]
Addresses = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=ADDRESSES_PER_NODE_MAX)]
SocketPath = Annotated[str, msgspec.Meta(max_length=SOCKET_PATH_BYTES_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0)]


# --- commands: from the node --------------------------------------------------------------------


class Announce(Record, frozen=True, tag="announce"):
    """Show `statement` on these IPv4 interfaces, and look for others. A later one replaces what is shown and
    where.

    Without `zeroconf` only the statement server runs, on `port` + 1 of each interface; without interfaces, as
    for a client, nothing is shown. Answer: `DiscoveryReady`.
    """

    instance_prefix: Annotated[str, msgspec.Meta(pattern=f"^[A-Za-z0-9-]{{1,{PREFIX_CHARS_MAX}}}$")]
    statement: Statement
    interfaces: Annotated[tuple[str, ...], msgspec.Meta(max_length=ADDRESSES_PER_NODE_MAX)]
    port: NodePort
    zeroconf: bool = True


class Fetch(Record, frozen=True, tag="fetch"):
    """Ask the node at `host`:`port` (its own port, not port + 1) for its key statement. Answer: `Fetched`.

    `through` is the path of a Unix socket that leads to port + 1 there, "" for the direct way.
    """

    ticket: int
    host: str
    port: NodePort
    through: SocketPath = ""


class Stop(Record, frozen=True, tag="stop"):
    """Say goodbye on the network and end. Closing the socket does the same."""


Command = Announce | Fetch | Stop


# --- events: from the discovery process ---------------------------------------------------------


class Found(Record, frozen=True, tag="found"):
    """Somebody announces this key statement; told again when something of it changes."""

    instance: Instance
    statement: Statement
    addresses: Addresses
    port: NodePort


class Lost(Record, frozen=True, tag="lost"):
    """An announcement that was `Found` is gone: withdrawn, or not renewed. Anybody on the LAN can cause
    it."""

    instance: Instance


class Fetched(Record, frozen=True, tag="fetched"):
    """The end of a `Fetch`: the statement, or None and what was the matter."""

    ticket: int
    statement: Statement | None = None
    problem: Sentence = ""


class DiscoveryReady(Record, frozen=True, tag="ready"):
    """An `Announce` is in force. `statement_port` is 0 when the statement server runs on no interface."""

    statement_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class DiscoveryProblem(Record, frozen=True, tag="problem"):
    """Something does not work, in one sentence for people. `fatal`: the process ends now; otherwise the rest
    goes on."""

    sentence: Sentence
    fatal: bool = False


class DiscoveryCounts(Record, frozen=True, tag="counts"):
    """What strangers did, counted since the process started; told at most once a second, when something
    changed."""

    malformed_announcements: Count
    dropped_announcements: Count  # more than the process could follow
    refused_clients: Count  # of the statement server: too many, too often, too slow or a wrong question


Event = Found | Lost | Fetched | DiscoveryReady | DiscoveryProblem | DiscoveryCounts

_commands: Final[msgspec.json.Decoder[Command]] = msgspec.json.Decoder(Command)
_events: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_T = TypeVar("_T")


# --- messages -------------------------------------------------------------------------------------


def encode_command(command: Command) -> bytes:
    """The command as one message. Raises LocalProtocolError when it breaks a limit."""
    return _encode(command)


def encode_event(event: Event) -> bytes:
    """The event as one message. Raises LocalProtocolError when it breaks a limit."""
    return _encode(event)


def decode_command(payload: bytes) -> Command:
    """The command in a message. Raises RemoteProtocolError(BODY_MALFORMED)."""
    command = _decode(_commands, payload)
    if isinstance(command, Announce):
        _check_addresses(command.interfaces)
    return command


def decode_event(payload: bytes) -> Event:
    """The event in a message. Raises RemoteProtocolError(BODY_MALFORMED)."""
    event = _decode(_events, payload)
    match event:
        case Found():
            _check_addresses(event.addresses)
            _check_printable(event.instance)
        case Lost():
            _check_printable(event.instance)
        case Fetched():
            _check_printable(event.problem)
            if (event.statement is None) != bool(event.problem):
                raise RemoteProtocolError(Code.BODY_MALFORMED, "fetched needs a statement or a problem")
        case DiscoveryProblem():
            _check_printable(event.sentence)
        case DiscoveryReady() | DiscoveryCounts():
            pass
    return event


def _encode(record: Record) -> bytes:
    payload = msgspec.json.encode(record)
    if len(payload) > DISCOVERY_FRAME_BYTES_MAX:
        raise LocalProtocolError(f"discovery message of {len(payload)} bytes")
    return payload


def _decode(decoder: msgspec.json.Decoder[_T], payload: bytes) -> _T:
    if len(payload) > DISCOVERY_FRAME_BYTES_MAX:
        raise RemoteProtocolError(Code.FRAME_TOO_LARGE, f"discovery message of {len(payload)} bytes")
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(Code.BODY_MALFORMED, f"discovery message: {error}") from None


def _check_addresses(addresses: tuple[str, ...]) -> None:
    for address in addresses:
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            raise RemoteProtocolError(Code.BODY_MALFORMED, "not an IPv4 address") from None


def _check_printable(text: str) -> None:
    """People read it in a terminal, where control characters are commands."""
    if not text.isprintable():
        raise RemoteProtocolError(Code.BODY_MALFORMED, "text with control characters")
