import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.ids import node_id
from protocol.limits import CLOCK_TOLERANCE_MS, FRAME_BYTES_MAX, FRAME_TTL_MS, FRAME_TTL_MS_MAX
from protocol.replay import ReplayWindow
from protocol.signing import SigningKey
from protocol.wire.frame import BODY_OFFSET, FrameRules, Header, open_frame, parse_header, seal

SENDER = SigningKey(b"s" * 32)
RECEIVER = node_id(SigningKey(b"r" * 32).public_key)
NOW_MS = 1_800_000_000_000
HEADER = Header(
    type=7,
    sender_key=SENDER.public_key,
    audience=RECEIVER,
    project=b"p" * 16,
    message_id=b"m" * 16,
    reply_to=b"q" * 16,
    boot_id=NOW_MS - 1_000,
    sequence=3,
    issued_ms=NOW_MS,
    ttl_ms=1_000,
    fence=9,
)
RULES = FrameRules(own_id=RECEIVER, allowed={7: 100, 8: 0}, sender_key=SENDER.public_key, now_wall_ms=NOW_MS)
BODY = b"\x81\xa1a\x01"
FRAME = seal(HEADER, BODY, SENDER)


def header(**change: Any) -> Header:
    return msgspec.structs.replace(HEADER, **change)


def rules(**change: Any) -> FrameRules:
    return msgspec.structs.replace(RULES, **change)


def refusal(raw: bytes, frame_rules: FrameRules = RULES) -> Code:
    with pytest.raises(RemoteProtocolError) as caught:
        open_frame(raw, frame_rules)
    return caught.value.code


def altered(offset: int, field: bytes) -> bytes:
    return FRAME[:offset] + field + FRAME[offset + len(field) :]


def test_a_sealed_frame_opens_as_what_was_sealed() -> None:
    opened = open_frame(FRAME, RULES)
    assert (opened.header, opened.body) == (HEADER, BODY)
    assert parse_header(FRAME) == HEADER


uint64 = st.integers(0, 2**64 - 1)
headers = st.builds(
    Header,
    type=st.integers(0, 2**16 - 1),
    sender_key=st.just(SENDER.public_key),
    audience=st.binary(min_size=32, max_size=32),
    project=st.binary(min_size=16, max_size=16),
    message_id=st.binary(min_size=16, max_size=16),
    reply_to=st.binary(min_size=16, max_size=16),
    boot_id=uint64,
    sequence=uint64,
    issued_ms=uint64,
    ttl_ms=st.integers(0, FRAME_TTL_MS_MAX),
    fence=uint64,
)


@given(headers, st.binary(max_size=50))
def test_every_header_and_body_reads_back(any_header: Header, body: bytes) -> None:
    any_rules = FrameRules(
        own_id=any_header.audience,
        allowed={any_header.type: 50},
        sender_key=None,
        now_wall_ms=any_header.issued_ms,
        window=ReplayWindow(),
    )
    opened = open_frame(seal(any_header, body, SENDER), any_rules)
    assert (opened.header, opened.body) == (any_header, body)


@pytest.mark.parametrize("place", range(len(FRAME)))
def test_every_flipped_bit_is_refused(place: int) -> None:
    for bit in range(8):
        refusal(altered(place, bytes([FRAME[place] ^ 1 << bit])), rules(clock_free=frozenset({7})))


@given(st.integers(0, len(FRAME) - 1), st.integers(1, 255))
def test_every_changed_byte_is_refused(place: int, difference: int) -> None:
    refusal(altered(place, bytes([FRAME[place] ^ difference])), rules(sender_key=None))


@pytest.mark.parametrize("size", range(len(FRAME)))
def test_every_shortened_frame_is_refused(size: int) -> None:
    assert refusal(FRAME[:size]) == Code.FRAME_MALFORMED


@pytest.mark.parametrize(
    ("raw", "change", "code"),
    [
        pytest.param(FRAME + b"\0", {}, Code.FRAME_MALFORMED, id="a byte too many"),
        pytest.param(FRAME + bytes(FRAME_BYTES_MAX), {}, Code.FRAME_TOO_LARGE, id="too large for any type"),
        pytest.param(altered(0, b"FLP2"), {}, Code.FRAME_MAGIC_UNKNOWN, id="another magic"),
        pytest.param(altered(4, b"\x02"), {}, Code.SUITE_UNKNOWN, id="another suite"),
        pytest.param(altered(5, b"\x01"), {}, Code.SUITE_UNKNOWN, id="a flag"),
        pytest.param(altered(6, b"\x00\x09"), {}, Code.TYPE_NOT_ALLOWED, id="another type"),
        pytest.param(altered(6, b"\x00\x08"), {}, Code.FRAME_TOO_LARGE, id="too large for its type"),
        pytest.param(altered(8, b"\x00\x00\x00\x05"), {}, Code.FRAME_MALFORMED, id="another body length"),
        pytest.param(altered(148, b"\xff\xff\xff\xff"), {}, Code.FRAME_MALFORMED, id="too long a life"),
        pytest.param(FRAME, {"own_id": bytes(32)}, Code.AUDIENCE_WRONG, id="another audience"),
        pytest.param(FRAME, {"sender_key": bytes(32)}, Code.SENDER_WRONG, id="another sender"),
        pytest.param(altered(12, bytes(32)), {"sender_key": None}, Code.KEY_WEAK, id="a weak key at the door"),
        pytest.param(FRAME, {"now_wall_ms": 0}, Code.TIME_OUTSIDE, id="from the future"),
        pytest.param(FRAME, {"now_wall_ms": 2**64}, Code.TIME_OUTSIDE, id="from the past"),
        pytest.param(FRAME, {"boot_floor": HEADER.boot_id + 1}, Code.REPLAYED, id="before the last boot"),
        pytest.param(altered(224, b"\x80"), {}, Code.SIGNATURE_WRONG, id="another body"),
        pytest.param(altered(160, bytes(64)), {}, Code.SIGNATURE_WRONG, id="no signature"),
    ],
)
def test_each_check_refuses_with_its_own_code(raw: bytes, change: dict[str, Any], code: Code) -> None:
    assert refusal(raw, rules(**change)) == code


def test_cheap_checks_come_before_dear_ones() -> None:
    everything_wrong = rules(own_id=bytes(32), sender_key=bytes(32), now_wall_ms=0, boot_floor=2**64)
    steps: list[tuple[dict[str, Any], Code]] = [
        ({}, Code.AUDIENCE_WRONG),
        ({"own_id": RECEIVER}, Code.SENDER_WRONG),
        ({"sender_key": SENDER.public_key}, Code.TIME_OUTSIDE),
        ({"now_wall_ms": NOW_MS}, Code.REPLAYED),
        ({"boot_floor": 0}, Code.SIGNATURE_WRONG),
    ]
    current = everything_wrong
    for mended, code in steps:
        current = msgspec.structs.replace(current, **mended)
        assert refusal(altered(224, b"\0"), current) == code


@pytest.mark.parametrize(
    ("age_ms", "offset_ms", "ttl_ms", "passes"),
    [
        (-CLOCK_TOLERANCE_MS, 0, 1_000, True),
        (-CLOCK_TOLERANCE_MS - 1, 0, 1_000, False),
        (CLOCK_TOLERANCE_MS + 1_000, 0, 1_000, True),
        (CLOCK_TOLERANCE_MS + 1_001, 0, 1_000, False),
        (CLOCK_TOLERANCE_MS + FRAME_TTL_MS, 0, 0, True),
        (CLOCK_TOLERANCE_MS + FRAME_TTL_MS + 1, 0, 0, False),
        (-3_600_000, 3_600_000, 1_000, True),
        (3_600_000, -3_600_000, 1_000, True),
        (-3_600_000, -3_600_000, 1_000, False),
    ],
)
def test_the_edges_of_a_frames_life(age_ms: int, offset_ms: int, ttl_ms: int, passes: bool) -> None:
    raw = seal(header(ttl_ms=ttl_ms), BODY, SENDER)
    then = rules(now_wall_ms=NOW_MS + age_ms, clock_offset_ms=offset_ms)
    if passes:
        open_frame(raw, then)
    else:
        assert refusal(raw, then) == Code.TIME_OUTSIDE
    open_frame(raw, msgspec.structs.replace(then, clock_free=frozenset({7})))


def test_a_frame_opens_once() -> None:
    counted = rules(window=ReplayWindow())
    open_frame(FRAME, counted)
    assert refusal(FRAME, counted) == Code.REPLAYED
    open_frame(seal(header(sequence=2), BODY, SENDER), counted)


def test_a_forged_frame_does_not_move_the_window() -> None:
    counted = rules(window=ReplayWindow())
    forged = altered(132, struct.pack(">Q", 2**64 - 1))
    assert refusal(forged, counted) == Code.SIGNATURE_WRONG
    open_frame(FRAME, counted)


def test_frames_of_an_earlier_boot_are_over_once_a_later_one_spoke() -> None:
    counted = rules(window=ReplayWindow())
    open_frame(seal(header(boot_id=HEADER.boot_id + 1, sequence=0), BODY, SENDER), counted)
    assert refusal(FRAME, counted) == Code.REPLAYED


@pytest.mark.parametrize(
    "change",
    [
        {"audience": b"short"},
        {"project": b""},
        {"reply_to": b""},
        {"message_id": bytes(17)},
        {"sender_key": bytes(32)},
        {"type": 2**16},
        {"sequence": 2**64},
        {"boot_id": -1},
        {"ttl_ms": FRAME_TTL_MS_MAX + 1},
    ],
)
def test_a_header_that_cannot_be_sent_is_our_own_mistake(change: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        seal(header(**change), BODY, SENDER)


def test_a_frame_that_no_socket_would_take_is_not_sealed() -> None:
    seal(HEADER, bytes(FRAME_BYTES_MAX - BODY_OFFSET), SENDER)
    with pytest.raises(LocalProtocolError):
        seal(HEADER, bytes(FRAME_BYTES_MAX - BODY_OFFSET + 1), SENDER)
