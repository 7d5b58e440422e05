"""Project tokens: the secret that makes a group of nodes, and all that is derived from it.

A token is known to its members, kept in memory as a `ProjectKey`, and never stored in a database, logged or shown in
an error. It is sent in one case only: to the node that uses an invitation, over the connection that it opens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import string
from itertools import pairwise
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from protocol.errors import Code, ConfigError, LocalProtocolError
from protocol.ids import PROJECT_ID_BYTES, check_character, length_safe
from protocol.limits import TOKEN_CHARS_MAX
from protocol.secret_text import SecretText

TOKEN_ENTROPY_BYTES: Final = 20
TOKEN_BITS_MIN: Final = 128  # below, a recorded proof could be searched for the token

_PREFIX: Final = "fp2p_"
_PART_CHARS: Final = 16  # of the 32 characters of entropy, each part has one check character
_GENERATED: Final = re.compile(r"fp2p_[a-z2-7]{34}", re.ASCII)
_PUBLISHED: Final = ("58981bcbab",)  # beginnings of tokens in published manuals and examples, lower case
_NEXT_STEP: Final = "make a token with: flotta-p2p project new"

# scrypt with 16 MiB and about 60 ms. The salt is fixed, because members share nothing but the token itself;
# tokens of 128 bits need no salt against tables, and the cost is for those of standalone nodes that have
# less.
_SCRYPT_SALT: Final = b"flotta-p2p/project-token/v1"
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 1

_ID_DOMAIN: Final = b"id"
_DOOR_DOMAIN: Final = b"flotta-p2p/door/v1"
_HINT_DOMAIN: Final = b"flotta-p2p/hint/v1"
_PROOF_DOMAIN: Final = b"flotta-p2p/proof/v1"
_MEMBER_DOMAIN: Final = b"flotta-p2p/member/v1"
_SUBMIT_DOMAIN: Final = b"flotta-p2p/submit/v1"


def new_token(entropy: bytes) -> str:
    """The token of 20 random bytes: `fp2p_`, 32 base32 and 2 check characters, all lower case."""
    if len(entropy) != TOKEN_ENTROPY_BYTES:
        raise LocalProtocolError(f"a token is made of {TOKEN_ENTROPY_BYTES} bytes, not {len(entropy)}")
    secret = base64.b32encode(entropy).decode("ascii")
    return _PREFIX + (secret + _checks(secret)).lower()


def check_token(text: str, *, standalone: bool = False) -> None:
    """Refuse a token that was mistyped, and, unless `standalone`, one that could be guessed.

    A generated token is proved by its check characters; any other text must carry TOKEN_BITS_MIN bits by a
    careful estimate. Raises ConfigError(TOKEN_MALFORMED | TOKEN_WEAK), without the token in its text.
    """
    if not 0 < len(text) <= TOKEN_CHARS_MAX:
        raise ConfigError(
            Code.TOKEN_MALFORMED,
            f"a token has 1 to {TOKEN_CHARS_MAX} characters, this one {len(text)}",
            next_step=_NEXT_STEP,
        )
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ConfigError(
            Code.TOKEN_MALFORMED,
            "a token is printable ASCII without spaces around it, so that it is the same on every keyboard",
            next_step="copy the token again, without quotes, spaces or line ends",
        )
    if text.lower().startswith(_PREFIX):
        _check_generated(text)
    elif not standalone:
        _check_strength(text)


def _check_generated(text: str) -> None:
    secret = text.removeprefix(_PREFIX).upper()
    if not _GENERATED.fullmatch(text) or _checks(secret[:32]) != secret[32:]:
        raise ConfigError(
            Code.TOKEN_MALFORMED,
            "the token has a mistake: its check characters do not fit",
            next_step="copy the token again, all 39 characters in lower case",
        )


def _checks(secret: str) -> str:
    return "".join(check_character(secret[at : at + _PART_CHARS]) for at in range(0, len(secret), _PART_CHARS))


def _check_strength(text: str) -> None:
    if text.lower().startswith(_PUBLISHED):
        raise ConfigError(
            Code.TOKEN_WEAK,
            "this token stands in published examples: everybody knows it",
            next_step=_NEXT_STEP,
        )
    if _is_patterned(text):
        raise ConfigError(Code.TOKEN_WEAK, "this token repeats itself and could be guessed", next_step=_NEXT_STEP)
    bits = _bits(text)
    if bits < TOKEN_BITS_MIN:
        raise ConfigError(
            Code.TOKEN_WEAK,
            f"this token could be guessed: about {bits:.0f} bits, at least {TOKEN_BITS_MIN} are needed",
            next_step=_NEXT_STEP,
        )


def _is_patterned(text: str) -> bool:
    """Few different characters, repeated groups, or runs such as `abcd`: none of them comes by chance."""
    triples = [text[at : at + 3] for at in range(len(text) - 2)]
    steps = [ord(right) - ord(left) for left, right in pairwise(text)]
    even = sum(one == other for one, other in pairwise(steps))
    return len(set(text)) < 8 or len(set(triples)) < 0.75 * len(triples) or even > 0.5 * len(steps)


def _bits(text: str) -> float:
    """Length times the bits of the smallest alphabet that holds the text; 2 bits where it may be words."""
    if all(character in string.ascii_letters + " -_.,'" for character in text):
        return 2.0 * len(text)
    alphabets = (
        string.digits,
        string.digits + "abcdef",
        string.digits + "ABCDEF",
        string.digits + string.ascii_lowercase,
        string.digits + string.ascii_uppercase,
        string.digits + string.ascii_letters,
    )
    size = next((len(one) for one in alphabets if set(text) <= set(one)), 64)
    return len(text) * math.log2(size)


class ProjectKey:
    """What a member can do with a token. Its repr shows nothing. All methods are pure.

    `token` is the text itself, for those whom the operator invites; None where only the key is known.
    """

    __slots__ = ("_key", "door_public", "door_secret", "project_id", "token")

    def __init__(self, key: bytes, token: SecretText | None = None) -> None:
        if len(key) != 32:
            raise LocalProtocolError(f"a project key has 32 bytes, not {len(key)}")
        self._key = key
        self.token = token
        self.project_id: bytes = self._mac(_ID_DOMAIN)[:PROJECT_ID_BYTES]
        # The CURVE client pair that opens the door: whoever knows the token may say hello, and nothing else.
        self.door_secret: bytes = self._mac(_DOOR_DOMAIN)
        door = X25519PrivateKey.from_private_bytes(self.door_secret)
        self.door_public: bytes = door.public_key().public_bytes_raw()

    @classmethod
    def derive(cls, token: str) -> ProjectKey:
        """The key of this token; `check_token` comes first. Takes 16 MiB and about 60 ms."""
        key = hashlib.scrypt(token.encode(), salt=_SCRYPT_SALT, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, dklen=32)
        return cls(key, SecretText(token))

    def hint(self, node_id: bytes) -> bytes:
        """8 bytes by which members recognise this node in discovery. Strangers link no two of them."""
        return self._mac(_HINT_DOMAIN, node_id)[:8]

    def proof(
        self,
        role: str,
        joiner_id: bytes,
        responder_id: bytes,
        joiner_curve: bytes,
        responder_curve: bytes,
        joiner_nonce: bytes,
        responder_nonce: bytes,
    ) -> bytes:
        """32 bytes that prove knowledge of the token in one handshake, as `role`: "joiner" or "responder"."""
        if role not in ("joiner", "responder"):
            raise LocalProtocolError(f"nobody proves the token as {role!r}")
        parties = (joiner_id, responder_id, joiner_curve, responder_curve, joiner_nonce, responder_nonce)
        return self._mac(_PROOF_DOMAIN, role.encode(), self.project_id, *parties)

    def check_proof(
        self,
        role: str,
        joiner_id: bytes,
        responder_id: bytes,
        joiner_curve: bytes,
        responder_curve: bytes,
        joiner_nonce: bytes,
        responder_nonce: bytes,
        proof: bytes,
    ) -> bool:
        """Whether `proof` is the other side's, in constant time."""
        parties = (joiner_id, responder_id, joiner_curve, responder_curve, joiner_nonce, responder_nonce)
        return hmac.compare_digest(self.proof(role, *parties), proof)

    def member_proof(self, node_id: bytes, curve_key: bytes, seal_key: bytes) -> bytes:
        """32 bytes that prove that the node with these keys knows the token; worth nothing without its signing key."""
        return self._mac(_MEMBER_DOMAIN, self.project_id, node_id, curve_key, seal_key)

    def check_member_proof(self, node_id: bytes, curve_key: bytes, seal_key: bytes, proof: bytes) -> bool:
        """Whether `proof` is that node's, in constant time."""
        return hmac.compare_digest(self.member_proof(node_id, curve_key, seal_key), proof)

    def submit_proof(self, job_id: bytes, submitter_key: bytes) -> bytes:
        """32 bytes beside an order that prove that its submitter knows the token."""
        return self._mac(_SUBMIT_DOMAIN, job_id, submitter_key)

    def check_submit_proof(self, job_id: bytes, submitter_key: bytes, proof: bytes) -> bool:
        """Whether `proof` belongs to this order and submitter, in constant time."""
        return hmac.compare_digest(self.submit_proof(job_id, submitter_key), proof)

    def __repr__(self) -> str:
        return "ProjectKey(***)"

    def _mac(self, domain: bytes, *fields: bytes) -> bytes:
        return hmac.digest(self._key, domain + length_safe(*fields), "sha256")
