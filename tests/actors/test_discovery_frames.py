"""What node and discovery process say to each other: encoding, strict decoding, and what malformed output
does."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.discovery import (
    Announce,
    Command,
    DiscoveryCounts,
    DiscoveryProblem,
    DiscoveryReady,
    Event,
    Fetch,
    Fetched,
    Found,
    Lost,
    Stop,
    decode_command,
    decode_event,
    encode_command,
    encode_event,
)
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import ADDRESSES_PER_NODE_MAX, DISCOVERY_FRAME_BYTES_MAX, TXT_STATEMENT_BYTES_MAX

COMMANDS: list[Command] = [
    Announce(instance_prefix="ABC-1", statement=b"\x00\xff", interfaces=("127.0.0.1", "10.0.0.1"), port=1456),
    Announce(instance_prefix="a", statement=b"x" * 1000, interfaces=("127.0.0.1",), port=65_534, zeroconf=False),
    Announce(instance_prefix="c", statement=b"x", interfaces=(), port=1456, zeroconf=False),
    Fetch(ticket=-3, host="host.local", port=1),
    Stop(),
]
EVENTS: list[Event] = [
    Found(instance="ABC-1 ü", statement=b"\x00\xff", addresses=("10.0.0.1",), port=1456),
    Lost(instance="ABC-1"),
    Fetched(ticket=1, statement=b"s"),
    Fetched(ticket=2, problem="Nobody there."),
    DiscoveryReady(statement_port=0),
    DiscoveryProblem(sentence="It is so.", fatal=True),
    DiscoveryCounts(malformed_announcements=1, dropped_announcements=2, refused_clients=3),
]
FOUND = {"type": "found", "instance": "a", "statement": "AAAA", "addresses": ["10.0.0.1"], "port": 1}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_commands_come_back_as_they_were(command: Command) -> None:
    assert decode_command(encode_command(command)) == command


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_come_back_as_they_were(event: Event) -> None:
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize(
    "change",
    [
        {"type": "announce"},
        {"extra": 1},
        {"instance": ""},
        {"instance": "x" * 64},
        {"instance": "\x1b[2J"},
        {"statement": ""},
        {"statement": "A" * (4 * TXT_STATEMENT_BYTES_MAX)},
        {"statement": "not base64!"},
        {"addresses": []},
        {"addresses": ["10.0.0.1"] * (ADDRESSES_PER_NODE_MAX + 1)},
        {"addresses": ["host.example"]},
        {"port": 0},
        {"port": 65_535},
        {"port": 1.5},
    ],
    ids=str,
)
def test_an_event_that_breaks_a_rule_is_refused(change: dict[str, object]) -> None:
    decode_event(json.dumps(FOUND).encode())
    with pytest.raises(RemoteProtocolError) as refused:
        decode_event(json.dumps({**FOUND, **change}).encode())
    assert refused.value.code == Code.BODY_MALFORMED


@pytest.mark.parametrize("fields", [{}, {"statement": "AAAA", "problem": "both"}, {"problem": "\x07"}])
def test_a_fetch_ends_with_a_statement_or_a_problem_for_people(fields: dict[str, str]) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_event(json.dumps({"type": "fetched", "ticket": 1, **fields}).encode())


@given(st.binary(max_size=300))
def test_any_payload_is_an_event_or_the_one_error(payload: bytes) -> None:
    try:
        decode_event(payload)
    except RemoteProtocolError as error:
        assert error.code == Code.BODY_MALFORMED


def test_deeply_nested_output_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_event(b"[" * DISCOVERY_FRAME_BYTES_MAX)
    with pytest.raises(RemoteProtocolError):
        decode_event(b'{"x":' * 10_000)


@given(st.binary(max_size=200))
def test_any_output_is_an_event_or_refused(message: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert decode_event(message) is not None


def test_a_message_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        decode_event(b" " * (DISCOVERY_FRAME_BYTES_MAX + 1))
    assert refused.value.code == Code.FRAME_TOO_LARGE


def test_a_command_beyond_the_limit_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        encode_command(Fetch(ticket=1, host="x" * DISCOVERY_FRAME_BYTES_MAX, port=1))


@pytest.mark.parametrize("field", [{"interfaces": ("0.0.0.0.0",)}, {"port": 65_535}, {"instance_prefix": "a.b"}])
def test_an_announcement_that_cannot_be_made_is_refused(field: dict[str, object]) -> None:
    announce = json.loads(encode_command(COMMANDS[0]))
    with pytest.raises(RemoteProtocolError):
        decode_command(json.dumps({**announce, **field}).encode())
