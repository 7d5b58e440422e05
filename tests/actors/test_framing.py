"""Frames between node and child: whole or in pieces, the same messages; what is no frame is refused by one error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.framing import Unframer, to_frame
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import CHILD_MESSAGE_BYTES_MAX


def drain(unframer: Unframer) -> list[bytes]:
    messages = []
    while (message := unframer.pop()) is not None:
        messages.append(message)
    return messages


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(1, 64))
def test_any_cut_of_the_stream_gives_the_same_messages(messages: list[bytes], piece: int) -> None:
    stream = b"".join(map(to_frame, messages))
    unframer = Unframer()
    seen = []
    for start in range(0, len(stream), piece):
        unframer.push(stream[start : start + piece])
        seen += drain(unframer)
    assert seen == messages
    assert not unframer.torn


@given(st.binary(max_size=300))
def test_any_bytes_give_messages_or_the_one_error(data: bytes) -> None:
    unframer = Unframer()
    unframer.push(data)
    try:
        messages = drain(unframer)
    except RemoteProtocolError as error:
        assert error.code in (Code.FRAME_MALFORMED, Code.FRAME_TOO_LARGE)
    else:
        used = sum(4 + len(message) for message in messages)
        assert unframer.torn == (used < len(data))


def test_the_limit_is_the_last_length_allowed() -> None:
    unframer = Unframer()
    unframer.push(CHILD_MESSAGE_BYTES_MAX.to_bytes(4))
    assert unframer.pop() is None
    unframer = Unframer()
    unframer.push((CHILD_MESSAGE_BYTES_MAX + 1).to_bytes(4))
    with pytest.raises(RemoteProtocolError) as caught:
        unframer.pop()
    assert caught.value.code is Code.FRAME_TOO_LARGE


def test_messages_before_a_wrong_frame_are_not_lost() -> None:
    unframer = Unframer()
    unframer.push(to_frame(b"good") + bytes(4))
    assert unframer.pop() == b"good"
    with pytest.raises(RemoteProtocolError) as caught:
        unframer.pop()
    assert caught.value.code is Code.FRAME_MALFORMED


@pytest.mark.parametrize("length", [0, CHILD_MESSAGE_BYTES_MAX + 1])
def test_only_a_message_within_the_limits_is_framed(length: int) -> None:
    with pytest.raises(LocalProtocolError):
        to_frame(bytes(length))
