"""Frames of the control socket."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Code, RemoteProtocolError
from protocol.limits import CONTROL_BYTES_MAX
from protocol.wire.control import (
    HEAD,
    AcceptPeer,
    AskInvitations,
    AskPeers,
    AskProof,
    AskStatus,
    BanPeer,
    Invite,
    Invited,
    ProofGiven,
    Report,
    RevokeInvitation,
    WaitJob,
    body_length,
    decode_control,
    encode_control,
)
from protocol.wire.jobs import AskJob

MESSAGES: list[Any] = [
    AskStatus(),
    AskPeers(),
    AskProof(project=b"p" * 16, job_id=b"j" * 32, submitter_key=b"k" * 32),
    ProofGiven(proof=b"p"),
    WaitJob(job_id=b"j" * 32, known_state="running", known_done=1, wait_ms=5),
    Report(values={"name": "lab", "peers": [1, 2]}),
    Invite(project=b"p" * 16, name="heart", valid_ms=60_000, nonce=b"n" * 16),
    Invited(invitation=b"i" * 16, text="fp2p-invite:x", expires_ms=1, addresses=("10.0.0.1:1456",)),
    AskInvitations(),
    RevokeInvitation(invitation=b"i" * 16),
    BanPeer(node=b"n" * 32, reason="lost"),
    AcceptPeer(node=b"n" * 32),
    AskJob(job_id=b"j" * 32),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_reads_back(message: Any) -> None:
    frame = encode_control(message)
    length, number = body_length(frame[: HEAD.size])
    assert length == len(frame) - HEAD.size
    assert decode_control(number, frame[HEAD.size :]) == message


def test_a_frame_that_announces_too_much_is_refused_before_it_is_read() -> None:
    assert body_length(HEAD.pack(CONTROL_BYTES_MAX, 100)) == (CONTROL_BYTES_MAX, 100)
    with pytest.raises(RemoteProtocolError) as refused:
        body_length(HEAD.pack(CONTROL_BYTES_MAX + 1, 100))
    assert refused.value.code == Code.FRAME_TOO_LARGE


def test_an_answer_beyond_the_limit_is_refused_by_its_sender() -> None:
    with pytest.raises(RemoteProtocolError):
        encode_control(ProofGiven(proof=bytes(CONTROL_BYTES_MAX)))


@given(st.integers(0, 2**16 - 1), st.binary(max_size=200))
def test_any_bytes_give_a_message_or_the_remote_error(number: int, body: bytes) -> None:
    try:
        decode_control(number, body)
    except RemoteProtocolError as error:
        assert error.code in (Code.TYPE_UNKNOWN, Code.BODY_MALFORMED)
