"""Sealing for a node that is reached through another one: HPKE (RFC 9180), base mode, X25519, HKDF-SHA256,
ChaCha20-Poly1305, by the `cryptography` library.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.record import Record
from protocol.wire.relay import sealing_info

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_DOMAIN: Final = b"flotta-p2p/seal-key/v1"


class SealKeys(Record, frozen=True):
    """An X25519 key pair, 32 raw bytes each. Its repr does not show the secret one."""

    secret: bytes
    public: bytes

    def __repr__(self) -> str:
        return f"SealKeys(public={self.public.hex()})"


def derive_seal_keys(curve_secret: bytes) -> SealKeys:
    """A pair of its own, so that no key serves two protocols, without a further key file."""
    secret = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_DOMAIN).derive(curve_secret)
    public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return SealKeys(secret=secret, public=public)


def seal_for(seal_key: bytes, frame: bytes, *, sender: bytes, receiver: bytes) -> bytes | None:
    """`frame` for the holder of this public key alone; None for a key that is no good. About 0.1 ms."""
    try:
        return _SUITE.encrypt(frame, X25519PublicKey.from_public_bytes(seal_key), sealing_info(sender, receiver))
    except ValueError:
        return None


def unseal(keys: SealKeys, sealed: bytes, *, sender: bytes, receiver: bytes) -> bytes | None:
    """The frame, or None for what was not sealed by `sender` for `receiver` with this key, or was altered."""
    try:
        return _SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(keys.secret), sealing_info(sender, receiver))
    except (InvalidTag, ValueError):
        return None
