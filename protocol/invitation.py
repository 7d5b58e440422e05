"""An invitation: one line of text by which an operator lets one more node into a project.

It names the inviter's key and addresses and carries a one-use secret. From the secret follows a key like that of a
project, so that the inviter's door opens for it and both sides prove to know it; what is behind that door is the
project's token, once, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final, Literal

from protocol.errors import AddressError, Code, ConfigError, RemoteProtocolError
from protocol.ids import node_id
from protocol.key_statement import Certified, KeyStatement, check_address
from protocol.limits import ADDRESSES_PER_NODE_MAX, INVITATION_CHARS_MAX, WALL_MS_MAX
from protocol.names import is_name
from protocol.record import Record
from protocol.signing import check_public_key
from protocol.tokens import ProjectKey
from protocol.wire.codec import decode_record, encode

PREFIX: Final = "fp2p-invite:"
ROOT_DOMAIN: Final = b"flotta-p2p/invitation-root/v1"  # of the node's own secret, from which those secrets follow
SECRET_BYTES: Final = 20
NONCE_BYTES: Final = 16

_CHECK_BYTES: Final = 4  # a line with a mistake passes once in 4 billion times, and then opens no door
_CHECK_DOMAIN: Final = b"flotta-p2p/invitation-check/v1\0"
_KEY_DOMAIN: Final = b"flotta-p2p/invitation-key/v1"
_SECRET_DOMAIN: Final = b"flotta-p2p/invitation-secret/v1\0"
_Fields = tuple[Literal[1], bytes, bytes, bytes, tuple[str, ...], str, int]


class Invitation(Record, frozen=True):
    """`project` is the inviter's name of the project: a proposal for the joiner's own. Its repr hides the secret."""

    secret: bytes
    node_key: bytes
    curve_key: bytes
    addresses: tuple[str, ...]
    project: str
    expires_ms: int

    @property
    def key(self) -> ProjectKey:
        """What opens the door; its project id is the id of the invitation."""
        return invitation_key(self.secret)

    @property
    def inviter(self) -> Certified:
        """Who is dialled. No statement was signed for this: who answers proves to know the secret."""
        statement = KeyStatement(
            version=1,
            curve_key=self.curve_key,
            seal_key=bytes(32),  # nothing is sealed at a door
            addresses=self.addresses,
            sequence=0,
            not_after_ms=self.expires_ms,
            name="",
        )
        return Certified(node=node_id(self.node_key), node_key=self.node_key, statement=statement, data=b"")

    def __repr__(self) -> str:
        return f"Invitation(addresses={self.addresses}, project={self.project!r}, secret=***)"


def invitation_key(secret: bytes) -> ProjectKey:
    """The secret has 160 random bits, so that one HMAC does what scrypt does for a token that somebody chose."""
    return ProjectKey(hmac.digest(secret, _KEY_DOMAIN, "sha256"))


def invitation_secret(root: bytes, nonce: bytes) -> bytes:
    """The secret of the invitation with this nonce, for the node with this root: it need not be stored."""
    return hmac.digest(root, _SECRET_DOMAIN + nonce, "sha256")[:SECRET_BYTES]


def format_invitation(invitation: Invitation) -> str:
    """The line: `fp2p-invite:` and base64url, the last characters of which check the others."""
    body = encode(
        [
            1,
            invitation.secret,
            invitation.node_key,
            invitation.curve_key,
            list(invitation.addresses),
            invitation.project,
            invitation.expires_ms,
        ]
    )
    return PREFIX + base64.urlsafe_b64encode(body + _check(body)).rstrip(b"=").decode("ascii")


def parse_invitation(text: str) -> Invitation:
    """The invitation in a line, whatever spaces and line ends a mail has put into it.

    Raises ConfigError(INVITATION_MALFORMED), which does not show the line.
    """
    line = "".join(text.split())
    if not line.startswith(PREFIX):
        raise _malformed(f'it does not begin with "{PREFIX}"')
    if len(line) > INVITATION_CHARS_MAX or not line.isascii():
        raise _malformed(f"it has more than {INVITATION_CHARS_MAX} characters, or some that are none of its own")
    coded = line.removeprefix(PREFIX)
    try:
        data = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
    except binascii.Error as error:
        raise _malformed("a part of it is missing") from error
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    same_text = base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") == coded
    if not body or not same_text or not hmac.compare_digest(_check(body), check):
        raise _malformed("a character is wrong or missing: its check characters do not fit")
    return _checked(body)


def _checked(body: bytes) -> Invitation:
    try:
        fields = decode_record(body, _Fields, bytes_max=INVITATION_CHARS_MAX)
        _, secret, node_key, curve_key, addresses, project, expires_ms = fields
        check_public_key(node_key)
        for address in addresses:
            check_address(address)
    except (RemoteProtocolError, AddressError) as error:
        raise _malformed("it is of another version, or no invitation") from error
    sizes = len(secret) == SECRET_BYTES and len(curve_key) == 32 and 0 < len(addresses) <= ADDRESSES_PER_NODE_MAX
    if not sizes or not is_name(project) or not 0 < expires_ms <= WALL_MS_MAX:
        raise _malformed("it is of another version, or no invitation")
    return Invitation(
        secret=secret,
        node_key=node_key,
        curve_key=curve_key,
        addresses=addresses,
        project=project,
        expires_ms=expires_ms,
    )


def _check(body: bytes) -> bytes:
    return hashlib.sha256(_CHECK_DOMAIN + body).digest()[:_CHECK_BYTES]


def _malformed(reason: str) -> ConfigError:
    return ConfigError(
        Code.INVITATION_MALFORMED,
        f"this is no invitation: {reason}",
        next_step=f"copy the whole line again, from {PREFIX} to its end",
    )
