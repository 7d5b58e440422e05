"""The frame that travels from node to node: `header[160] ‖ signature[64] ‖ body`, big-endian, one ZeroMQ
part.

| offset | size | field | meaning |
|---|---|---|---|
| 0 | 4 | magic | `FLP1` |
| 4 | 1 | suite | 1: Ed25519 and SHA-256 |
| 5 | 1 | flags | 0 |
| 6 | 2 | type | number of the message, see registry.py |
| 8 | 4 | body length | bytes after the signature, exactly |
| 12 | 32 | sender_key | Ed25519 public key |
| 44 | 32 | audience | node id of the receiver |
| 76 | 16 | project | 0: none |
| 92 | 16 | message_id | |
| 108 | 16 | reply_to | the message answered, 0: none |
| 124 | 8 | boot_id | rises with every start of the sender |
| 132 | 8 | sequence | rises with every frame of one boot to one audience |
| 140 | 8 | issued_ms | sender's wall clock |
| 148 | 4 | ttl_ms | 0: FRAME_TTL_MS |
| 152 | 8 | fence | epoch of the scheduler, or 0 |

Signed are a domain string, the header's length, the header as received, and SHA-256 of the body. Nothing is
parsed before the signature is verified, and the body is not parsed here at all.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Final

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.ids import KEY_BYTES, MESSAGE_ID_BYTES, NODE_ID_BYTES, PROJECT_ID_BYTES
from protocol.limits import CLOCK_TOLERANCE_MS, FRAME_BYTES_MAX, FRAME_TTL_MS, FRAME_TTL_MS_MAX
from protocol.record import Record
from protocol.replay import ReplayWindow
from protocol.signing import SIGNATURE_BYTES, SigningKey, check_public_key, verify

MAGIC: Final = b"FLP1"
SUITE: Final = 1
NO_PROJECT: Final = bytes(PROJECT_ID_BYTES)
NO_MESSAGE: Final = bytes(MESSAGE_ID_BYTES)

_LAYOUT: Final = struct.Struct(">4sBBHI32s32s16s16s16sQQQIQ")
HEADER_BYTES: Final = _LAYOUT.size
BODY_OFFSET: Final = HEADER_BYTES + SIGNATURE_BYTES
_DOMAIN: Final = b"flotta-p2p/frame/v1\0" + HEADER_BYTES.to_bytes(8, "big")


class Header(Record, frozen=True):
    """The fields of a frame, as on the wire: ids in full size, 16 zero bytes for none, times in ms."""

    type: int
    sender_key: bytes
    audience: bytes
    message_id: bytes
    boot_id: int
    sequence: int
    issued_ms: int
    project: bytes = NO_PROJECT
    reply_to: bytes = NO_MESSAGE
    ttl_ms: int = FRAME_TTL_MS
    fence: int = 0


class OpenedFrame(Record, frozen=True):
    """A frame that passed every check. `body` is as received and not yet parsed."""

    header: Header
    body: bytes


class FrameRules(Record, frozen=True):
    """What the receiver knows when a frame arrives.

    `allowed` maps each type that this connection may bring to its largest body in bytes. `sender_key` is the
    key that the connection proved, or None at the door, where any well-formed key may knock.
    `clock_offset_ms` is how far the sender's clock is ahead of ours, and `clock_free` are the types that
    teach it. Frames of a boot below `boot_floor` count as replayed; `window` is None where frames are not
    counted (the door).
    """

    own_id: bytes
    allowed: Mapping[int, int]
    sender_key: bytes | None
    now_wall_ms: int
    clock_offset_ms: int = 0
    clock_free: frozenset[int] = frozenset()
    window: ReplayWindow | None = None
    boot_floor: int = 0


def seal(header: Header, body: bytes, key: SigningKey) -> bytes:
    """The frame of this header and body, signed. Raises LocalProtocolError for what cannot be sent."""
    _check_own(header, body, key)
    head = _LAYOUT.pack(
        MAGIC,
        SUITE,
        0,
        header.type,
        len(body),
        header.sender_key,
        header.audience,
        header.project,
        header.message_id,
        header.reply_to,
        header.boot_id,
        header.sequence,
        header.issued_ms,
        header.ttl_ms,
        header.fence,
    )
    return head + key.sign(_signed_bytes(head, body)) + body


def parse_header(raw: bytes) -> Header:
    """The header of a whole frame, checked for its form and for nothing else: who says so is not yet known.

    Raises RemoteProtocolError(FRAME_MALFORMED | FRAME_TOO_LARGE | FRAME_MAGIC_UNKNOWN | SUITE_UNKNOWN).
    """
    if len(raw) < BODY_OFFSET:
        raise RemoteProtocolError(
            Code.FRAME_MALFORMED, f"a frame has at least {BODY_OFFSET} bytes, this one {len(raw)}"
        )
    if len(raw) > FRAME_BYTES_MAX:
        raise RemoteProtocolError(
            Code.FRAME_TOO_LARGE, f"a frame has at most {FRAME_BYTES_MAX} bytes, this one {len(raw)}"
        )
    magic, suite, flags, type_, body_bytes, *fields = _LAYOUT.unpack_from(raw)
    if magic != MAGIC:
        raise RemoteProtocolError(Code.FRAME_MAGIC_UNKNOWN, "not a frame of this protocol")
    if suite != SUITE or flags != 0:
        raise RemoteProtocolError(Code.SUITE_UNKNOWN, f"suite {suite} with flags {flags} is not spoken here")
    if body_bytes != len(raw) - BODY_OFFSET:
        raise RemoteProtocolError(
            Code.FRAME_MALFORMED,
            f"the header announces {body_bytes} bytes of body, {len(raw) - BODY_OFFSET} came",
        )
    sender_key, audience, project, message_id, reply_to, boot_id, sequence, issued_ms, ttl_ms, fence = fields
    return Header(
        type=type_,
        sender_key=sender_key,
        audience=audience,
        project=project,
        message_id=message_id,
        reply_to=reply_to,
        boot_id=boot_id,
        sequence=sequence,
        issued_ms=issued_ms,
        ttl_ms=ttl_ms,
        fence=fence,
    )


def open_frame(raw: bytes, rules: FrameRules) -> OpenedFrame:
    """Check everything about a frame but its body, the cheap before the dear, and commit the replay window at
    the end.

    Raises RemoteProtocolError, with the code of the first check that failed, and nothing else; then nothing
    has changed.
    """
    header = parse_header(raw)
    _check_bounds(header, len(raw) - BODY_OFFSET, rules)
    _check_parties(header, rules)
    if header.type not in rules.clock_free:
        _check_time(header, rules)
    if header.boot_id < rules.boot_floor:
        raise RemoteProtocolError(Code.REPLAYED, "the frame is from before the sender's last known start")
    if rules.window is not None and not rules.window.admits(header.boot_id, header.sequence):
        raise RemoteProtocolError(Code.REPLAYED, "the frame came before, or is too old to tell")
    body = raw[BODY_OFFSET:]
    if not verify(header.sender_key, raw[HEADER_BYTES:BODY_OFFSET], _signed_bytes(raw[:HEADER_BYTES], body)):
        raise RemoteProtocolError(Code.SIGNATURE_WRONG, "the signature of the frame is wrong")
    if rules.window is not None:
        rules.window.commit(header.boot_id, header.sequence)
    return OpenedFrame(header=header, body=body)


def _check_bounds(header: Header, body_bytes: int, rules: FrameRules) -> None:
    body_bytes_max = rules.allowed.get(header.type)
    if body_bytes_max is None:
        raise RemoteProtocolError(
            Code.TYPE_NOT_ALLOWED, f"message type {header.type} is not allowed on this connection"
        )
    if body_bytes > body_bytes_max:
        raise RemoteProtocolError(
            Code.FRAME_TOO_LARGE,
            f"type {header.type} has at most {body_bytes_max} bytes of body, {body_bytes} came",
        )
    if header.ttl_ms > FRAME_TTL_MS_MAX:
        raise RemoteProtocolError(
            Code.FRAME_MALFORMED, f"a frame lives at most {FRAME_TTL_MS_MAX} ms, not {header.ttl_ms}"
        )


def _check_parties(header: Header, rules: FrameRules) -> None:
    if header.audience != rules.own_id:
        raise RemoteProtocolError(Code.AUDIENCE_WRONG, "the frame is meant for another node")
    if rules.sender_key is None:
        check_public_key(header.sender_key)
    elif header.sender_key != rules.sender_key:
        raise RemoteProtocolError(Code.SENDER_WRONG, "the frame names another sender than its connection")


def _check_time(header: Header, rules: FrameRules) -> None:
    age_ms = rules.now_wall_ms - (header.issued_ms - rules.clock_offset_ms)
    if not -CLOCK_TOLERANCE_MS <= age_ms <= (header.ttl_ms or FRAME_TTL_MS) + CLOCK_TOLERANCE_MS:
        raise RemoteProtocolError(Code.TIME_OUTSIDE, f"the frame is {age_ms} ms old by this clock")


def _check_own(header: Header, body: bytes, key: SigningKey) -> None:
    sizes = (
        (header.sender_key, KEY_BYTES),
        (header.audience, NODE_ID_BYTES),
        (header.project, PROJECT_ID_BYTES),
        (header.message_id, MESSAGE_ID_BYTES),
        (header.reply_to, MESSAGE_ID_BYTES),
    )
    if any(len(field) != size for field, size in sizes):
        raise LocalProtocolError("a key or id of the header has the wrong size")
    if header.sender_key != key.public_key:
        raise LocalProtocolError("a frame is signed by its sender")
    counters = (header.boot_id, header.sequence, header.issued_ms, header.fence)
    if not all(0 <= counter < 2**64 for counter in counters) or not 0 <= header.type < 2**16:
        raise LocalProtocolError("a number of the header does not fit its field")
    if not 0 <= header.ttl_ms <= FRAME_TTL_MS_MAX:
        raise LocalProtocolError(f"a frame lives at most {FRAME_TTL_MS_MAX} ms, not {header.ttl_ms}")
    if BODY_OFFSET + len(body) > FRAME_BYTES_MAX:
        raise LocalProtocolError(f"a frame has at most {FRAME_BYTES_MAX} bytes, this one {BODY_OFFSET + len(body)}")


def _signed_bytes(head: bytes, body: bytes) -> bytes:
    return _DOMAIN + head + hashlib.sha256(body).digest()
