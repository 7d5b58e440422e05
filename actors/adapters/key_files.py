"""The keys of a node and of a person, each in a file of its own.

Ed25519 keys are PKCS#8 in PEM, which OpenSSL reads too. CURVE has no such form: its 32 bytes stand in
base64 in a block with a name of ours. All functions block on the disk; any thread. See `private_files` for
what makes a file safe.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from actors.adapters.private_files import create_private_file, read_private_file
from actors.ports import Entropy
from protocol.errors import Code, ConfigError

_SECRET_BYTES: Final = 32  # an Ed25519 seed (RFC 8032) and a CURVE secret key (RFC 7748)
_CURVE_BEGIN: Final = b"-----BEGIN FLOTTA-P2P CURVE SECRET KEY-----\n"
_CURVE_END: Final = b"\n-----END FLOTTA-P2P CURVE SECRET KEY-----\n"


def load_or_create_signing_key(path: Path, entropy: Entropy) -> bytes:
    """The 32-byte seed of the Ed25519 key in `path`, made if there is no file. Errors: of load and create."""
    try:
        return _signing_seed(path, read_private_file(path))
    except FileNotFoundError:
        return create_signing_key(path, entropy)


def load_signing_key(path: Path) -> bytes:
    """The 32-byte seed of the Ed25519 key in `path`.

    Raises ConfigError: KEY_FILE_MALFORMED when there is no file or no such key in it, KEY_FILE_UNSAFE when
    others may read it.
    """
    return _signing_seed(path, _read(path))


def create_signing_key(path: Path, entropy: Entropy) -> bytes:
    """Make an Ed25519 key, keep it in a new file of mode 0600, return its 32-byte seed.

    Raises ConfigError: KEY_FILE_UNSAFE when `path` exists or its folder is open to others, FOLDER_UNUSABLE.
    """
    seed = entropy.bytes(_SECRET_BYTES)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    _create(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return seed


def load_or_create_curve_secret(path: Path, entropy: Entropy) -> bytes:
    """The 32-byte CURVE secret key in `path`, made if there is no file. Errors: of load and create."""
    try:
        return _curve_secret(path, read_private_file(path))
    except FileNotFoundError:
        return create_curve_secret(path, entropy)


def load_curve_secret(path: Path) -> bytes:
    """The 32-byte CURVE secret key in `path`. Errors as of `load_signing_key`."""
    return _curve_secret(path, _read(path))


def create_curve_secret(path: Path, entropy: Entropy) -> bytes:
    """Make a CURVE secret key in a new file, return its 32 bytes. Errors as of `create_signing_key`."""
    secret = entropy.bytes(_SECRET_BYTES)
    _create(path, _curve_text(secret))
    return secret


def _signing_seed(path: Path, data: bytes) -> bytes:
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _malformed(path, "an Ed25519 private key in PEM (PKCS#8)") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _malformed(path, "an Ed25519 private key in PEM (PKCS#8)")
    return key.private_bytes_raw()


def _curve_secret(path: Path, data: bytes) -> bytes:
    try:
        secret = base64.b64decode(data.removeprefix(_CURVE_BEGIN).removesuffix(_CURVE_END), validate=True)
    except binascii.Error as error:
        raise _malformed(path, "a CURVE secret key") from error
    if len(secret) != _SECRET_BYTES or _curve_text(secret) != data:
        raise _malformed(path, "a CURVE secret key")
    return secret


def _curve_text(secret: bytes) -> bytes:
    return _CURVE_BEGIN + base64.b64encode(secret) + _CURVE_END


def _read(path: Path) -> bytes:
    try:
        return read_private_file(path)
    except FileNotFoundError as error:
        raise ConfigError(
            Code.KEY_FILE_MALFORMED,
            f"there is no key file {path}",
            next_step="make one with `flotta-p2p key new`, or give the path of an existing key",
        ) from error


def _create(path: Path, data: bytes) -> None:
    try:
        create_private_file(path, data)
    except FileExistsError as error:
        raise ConfigError(
            Code.KEY_FILE_UNSAFE,
            f"the file {path} exists already, and a key is never overwritten",
            next_step="use the key in it, or move it to a safe place first",
        ) from error


def _malformed(path: Path, expected: str) -> ConfigError:
    return ConfigError(
        Code.KEY_FILE_MALFORMED,
        f"the file {path} does not hold {expected}",
        next_step="restore it from a backup; without one move it away, and a new key, with a new id, is made",
    )
