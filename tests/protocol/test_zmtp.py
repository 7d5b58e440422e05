"""Reading along with ZMTP, and naming what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.limits import ZMTP_COMMAND_BYTES_MAX
from protocol.strange_answers import what_answers
from protocol.zmtp import GREETING_BYTES, CommandReader, client_greeting, read_socket_greeting

# What libzmq 4.3.5 sends from a CURVE socket, and one of the mechanism NULL.
CURVE = bytes.fromhex("ff00000000000000017f0301") + b"CURVE".ljust(20, b"\0") + bytes(32)
NULL = bytes.fromhex("ff00000000000000017f0301") + b"NULL".ljust(20, b"\0") + bytes(32)


def command(name: bytes, body: bytes = b"", *, long: bool = False) -> bytes:
    data = bytes((len(name),)) + name + body
    return (b"\x06" + len(data).to_bytes(8) if long else b"\x04" + bytes((len(data),))) + data


def test_our_greeting_is_that_of_libzmq() -> None:
    assert client_greeting() == CURVE


@pytest.mark.parametrize(("data", "mechanism"), [(CURVE, "CURVE"), (NULL, "NULL"), (CURVE + b"more", "CURVE")])
def test_a_greeting_tells_its_mechanism(data: bytes, mechanism: str) -> None:
    greeting = read_socket_greeting(data)
    assert greeting is not None
    assert (greeting.major, greeting.mechanism) == (3, mechanism)


@pytest.mark.parametrize("data", [b"", CURVE[:-1], b"HTTP/1.1 400 Bad Request".ljust(64), b"\xff" + bytes(63)])
def test_what_is_no_whole_greeting_is_none(data: bytes) -> None:
    assert read_socket_greeting(data) is None


@given(st.data())
def test_commands_are_named_in_whatever_pieces_they_come(data: st.DataObject) -> None:
    stream = CURVE + command(b"HELLO", bytes(194)) + b"\x00\x01x" + command(b"INITIATE", bytes(300), long=True)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    reader = CommandReader()
    names = [
        name
        for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True)
        for name in reader.feed(stream[start:end])
    ]
    assert names == ["HELLO", "", "INITIATE"]


def test_a_piece_full_of_the_smallest_frames_gives_them_all() -> None:
    assert CommandReader().feed(CURVE + 100_000 * b"\x00\x00") == 100_000 * [""]


def test_a_frame_without_an_end_is_not_kept() -> None:
    reader = CommandReader()
    reader.feed(CURVE + b"\x02" + (1 << 40).to_bytes(8))
    for _ in range(100):
        assert reader.feed(bytes(1000)) == []
    assert len(reader._data) <= ZMTP_COMMAND_BYTES_MAX
    assert reader.feed(command(b"READY")) == []


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_whatever_comes_is_read(pieces: list[bytes]) -> None:
    reader = CommandReader()
    for piece in pieces:
        assert all(isinstance(name, str) for name in reader.feed(piece))
    read_socket_greeting(b"".join(pieces)[:GREETING_BYTES])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "hung up"),
        (b"HTTP/1.1 400 Bad Request\r\n", "web server"),
        (b"\n<!DOCTYPE HTML>", "web server"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "TLS"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "SSH"),
        (b"220 mail.example.org ESMTP\r\n", "mail"),
        (CURVE, "ZeroMQ"),
        (b"\x00\x01\x02", "what answers there is not"),
    ],
)
def test_what_answers_is_named(said: bytes, words: str) -> None:
    assert words in what_answers(said)
    assert "not a flotta-p2p node" in what_answers(said)
