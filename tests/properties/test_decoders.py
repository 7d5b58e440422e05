"""Any bytes into a decoder give a value or the one remote error, and never another exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.ids import node_id
from protocol.limits import MIB
from protocol.replay import ReplayWindow
from protocol.signing import (
    ORDER_STATEMENT,
    Envelope,
    SigningKey,
    envelope_bytes,
    open_statement,
    sign_statement,
)
from protocol.wire.codec import decode, decode_record, encode
from protocol.wire.frame import FrameRules, Header, open_frame, parse_header, seal

KEY = SigningKey(b"k" * 32)
OWN = node_id(KEY.public_key)
HEADER = Header(
    type=1, sender_key=KEY.public_key, audience=OWN, message_id=b"m" * 16, boot_id=1, sequence=1, issued_ms=0
)
SAMPLES = [
    seal(HEADER, encode({"a": [1, 2.5, None], "b": b"bytes"}), KEY),
    envelope_bytes(sign_statement(ORDER_STATEMENT, b"payload", KEY)),
    encode({"list": list(range(40)), "map": {"x": {"y": {"z": "text"}}}, "bytes": bytes(300)}),
]


def _open_frame(data: bytes) -> Any:
    rules = FrameRules(own_id=OWN, allowed={1: MIB}, sender_key=None, now_wall_ms=0, window=ReplayWindow())
    return open_frame(data, rules)


DECODERS: list[Callable[[bytes], Any]] = [
    lambda data: decode(data, bytes_max=MIB),
    lambda data: decode_record(data, Envelope, bytes_max=MIB),
    lambda data: decode_record(data, dict[str, Any] | list[int] | None, bytes_max=MIB),
    lambda data: open_statement(data, ORDER_STATEMENT),
    parse_header,
    _open_frame,
]
NAMES = [
    "decode",
    "decode_record",
    "decode_record of builtins",
    "open_statement",
    "parse_header",
    "open_frame",
]

# Bytes near a valid input reach deeper than chance: a sample with some bytes overwritten, cut or continued.
edits = st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=5)), max_size=4)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for place, replacement in draw(edits):
        data[place : place + len(replacement)] = replacement
    return bytes(data[: draw(st.integers(0, len(data)))] + draw(st.binary(max_size=8)))


@pytest.mark.parametrize("read", DECODERS, ids=NAMES)
@settings(max_examples=200)
@given(st.binary(max_size=400) | damaged())
def test_any_bytes_give_a_value_or_the_remote_error(read: Callable[[bytes], Any], data: bytes) -> None:
    try:
        read(data)
    except RemoteProtocolError as error:
        assert error.sentence


@pytest.mark.parametrize(
    ("read", "data"),
    [(_open_frame, SAMPLES[0]), (DECODERS[3], SAMPLES[1]), (DECODERS[0], SAMPLES[2])],
    ids=["frame", "statement", "value"],
)
def test_what_was_cut_anywhere_is_refused(read: Callable[[bytes], Any], data: bytes) -> None:
    read(data)
    for size in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            read(data[:size])
