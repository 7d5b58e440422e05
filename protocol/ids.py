"""Ids and their one text form each. The only module that writes or reads the text of an id.

| id | bytes | text |
|---|---|---|
| node, person | 32 | 8 groups of 7 base32 characters with check characters: `MFZWI3D-…` |
| job | 32 | `j` and 52 lowercase base32 characters |
| project | 16 | `p` and 32 lowercase hexadecimal characters |
| invitation | 16 | `i` and 32 lowercase hexadecimal characters |
| message | 16 | none; logs show hexadecimal |

Parsing raises AddressError(ID_MALFORMED) naming the fault. Formatting bytes of another length is a bug of the
caller and raises LocalProtocolError. All functions are pure.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from typing import Final

from protocol.errors import AddressError, Code, LocalProtocolError
from protocol.limits import PEERS_MAX

NODE_ID_BYTES: Final = 32
JOB_ID_BYTES: Final = 32
PROJECT_ID_BYTES: Final = 16
MESSAGE_ID_BYTES: Final = 16
KEY_BYTES: Final = 32

_ID_DOMAIN: Final = b"flotta-p2p-id-v1"
_ED25519: Final = b"\x01"
_MESSAGE_DOMAIN: Final = b"flotta-p2p/message-id/v1\0"
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # RFC 4648
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_LOOK_ALIKES: Final = str.maketrans("018", "OIB")  # digits that base32 leaves out, for the letters
_BASE32_CHARS: Final = 52  # of 32 bytes, without padding
_PART_CHARS: Final = 13  # characters guarded by one check character
_GROUP_CHARS: Final = 7


def node_id(public_key: bytes) -> bytes:
    """The id of the node or person with this Ed25519 key. A later kind of key will have the same form."""
    _need(public_key, KEY_BYTES, "a public key")
    return hashlib.sha256(_ID_DOMAIN + _ED25519 + public_key).digest()


@lru_cache(maxsize=PEERS_MAX)
def format_id(node: bytes) -> str:
    """The text of a node or person id: 56 characters, every 14th of them a check, in 8 groups of 7."""
    _need(node, NODE_ID_BYTES, "an id")
    plain = _base32(node)
    parts = (plain[at : at + _PART_CHARS] for at in range(0, _BASE32_CHARS, _PART_CHARS))
    text = "".join(part + check_character(part) for part in parts)
    return "-".join(text[at : at + _GROUP_CHARS] for at in range(0, len(text), _GROUP_CHARS))


def parse_id(text: str) -> bytes:
    """The node or person id in `text`, whatever its case, spaces and hyphens; 0, 1, 8 count as O, I, B."""
    characters = re.sub(r"[\s-]", "", text).upper().translate(_LOOK_ALIKES)
    unknown = next((character for character in characters if character not in _VALUES), None)
    if unknown is not None:
        raise _malformed(f"an id is made of letters and the digits 2 to 7, not {unknown!r}")
    if len(characters) != 56:
        raise _malformed(f"an id has 56 characters in 8 groups of 7, this one has {len(characters)}")
    plain = ""
    for at in range(0, 56, _PART_CHARS + 1):
        part, check = characters[at : at + _PART_CHARS], characters[at + _PART_CHARS]
        if check_character(part) != check:
            first = at // _GROUP_CHARS + 1
            raise _malformed(f"the id has a mistake in group {first} or {first + 1} of 8")
        plain += part
    return _unbase32(plain)


def short_id(node: bytes) -> str:
    """The first group of the text: for people only, never for a decision."""
    return format_id(node)[:_GROUP_CHARS]


def format_job_id(job: bytes) -> str:
    """The text of a job id."""
    _need(job, JOB_ID_BYTES, "a job id")
    return "j" + _base32(job).lower()


def parse_job_id(text: str) -> bytes:
    """The job id in `text`, whatever its case and the spaces around it."""
    characters = text.strip().upper()
    if not re.fullmatch(r"J[A-Z2-7]{52}", characters):
        raise _malformed("a job id is the letter j and 52 letters or digits 2 to 7")
    return _unbase32(characters[1:])


def short_job_id(job: bytes) -> str:
    """The first 9 characters of the text: for people only."""
    return format_job_id(job)[:9]


def format_project_id(project: bytes) -> str:
    """The text of a project id."""
    _need(project, PROJECT_ID_BYTES, "a project id")
    return "p" + project.hex()


def format_invitation_id(invitation: bytes) -> str:
    """The text of an invitation's id. Nobody types it: commands take its beginning."""
    _need(invitation, PROJECT_ID_BYTES, "an invitation id")
    return "i" + invitation.hex()


def parse_project_id(text: str) -> bytes:
    """The project id in `text`, whatever its case and the spaces around it."""
    characters = text.strip().lower()
    if not re.fullmatch(r"p[0-9a-f]{32}", characters):
        raise _malformed("a project id is the letter p and 32 hexadecimal digits")
    return bytes.fromhex(characters[1:])


def message_id(sender: bytes, audience: bytes, boot_id: int, owner: str, counter: int) -> bytes:
    """The id of message number `counter` of the machine `owner` since its boot; no two share all five."""
    boot, number = boot_id.to_bytes(8, "big"), counter.to_bytes(8, "big")
    fields = length_safe(sender, audience, boot, owner.encode(), number)
    return hashlib.sha256(_MESSAGE_DOMAIN + fields).digest()[:MESSAGE_ID_BYTES]


def length_safe(*fields: bytes) -> bytes:
    """The fields, each after its length in 4 bytes: different lists of fields never give the same bytes."""
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def check_character(part: str) -> str:
    """The Luhn check modulo 32 of base32 characters: finds every wrong character and most swapped pairs."""
    total = 0
    for place, character in enumerate(part):
        product = _VALUES[character] * (1 + place % 2)
        total += product // 32 + product % 32
    return _ALPHABET[-total % 32]


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=")


def _unbase32(characters: str) -> bytes:
    data = base64.b32decode(characters + "====")
    if _base32(data) != characters:  # 52 characters hold 260 bits; the last 4 are not part of an id
        raise _malformed(f"no id ends in {characters[-1]!r}")
    return data


def _need(data: bytes, size: int, name: str) -> None:
    if len(data) != size:
        raise LocalProtocolError(f"{name} has {size} bytes, not {len(data)}")


def _malformed(sentence: str) -> AddressError:
    return AddressError(Code.ID_MALFORMED, sentence, next_step="copy the whole id again")
