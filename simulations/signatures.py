"""Ed25519 with a memory: in one process that signs and verifies everything, most verifications are asked twice.

Signatures are made for real. A verification is skipped only for exactly the bytes that a key of this process signed,
under that key, with that signature; one in CHECKED_EACH of those is done for real all the same, and so is every other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol import signing

REMEMBERED_MAX: Final = 20_000  # signatures; a frame is verified seconds after it was signed; 500 bytes each
CHECKED_EACH: Final = 64


@contextmanager
def remembered_signatures() -> Iterator[None]:
    """Within it, `protocol.signing` remembers what this process signed. Not for threads."""
    made: dict[bytes, tuple[bytes, bytes]] = {}  # signature: public key and message
    counter = itertools.count(1)

    class PrivateKey:
        def __init__(self, seed: bytes) -> None:
            self._real = Ed25519PrivateKey.from_private_bytes(seed)
            self._public = self._real.public_key().public_bytes_raw()

        from_private_bytes = classmethod(lambda cls, seed: cls(seed))

        def public_key(self) -> Ed25519PublicKey:
            return self._real.public_key()

        def sign(self, message: bytes) -> bytes:
            signature = self._real.sign(message)
            if len(made) >= REMEMBERED_MAX:
                del made[next(iter(made))]
            made[signature] = (self._public, message)
            return signature

    class PublicKey:
        def __init__(self, data: bytes) -> None:
            self._data = data

        from_public_bytes = classmethod(lambda cls, data: cls(data))

        def verify(self, signature: bytes, message: bytes) -> None:
            if made.get(signature) != (self._data, message) or next(counter) % CHECKED_EACH == 0:
                Ed25519PublicKey.from_public_bytes(self._data).verify(signature, message)

    module: Any = signing
    module.Ed25519PrivateKey, module.Ed25519PublicKey = PrivateKey, PublicKey
    try:
        yield
    finally:
        module.Ed25519PrivateKey, module.Ed25519PublicKey = Ed25519PrivateKey, Ed25519PublicKey
