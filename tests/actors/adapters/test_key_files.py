from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from actors.adapters import key_files
from actors.adapters.entropy import SystemEntropy
from actors.adapters.private_files import create_private_file
from actors.ports import Entropy
from protocol.errors import Code, ConfigError

SEED = bytes(range(32))
PEM = Ed25519PrivateKey.from_private_bytes(SEED).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

Load = Callable[[Path], bytes]
Make = Callable[[Path, Entropy], bytes]
KINDS = [
    (key_files.load_signing_key, key_files.create_signing_key, key_files.load_or_create_signing_key),
    (key_files.load_curve_secret, key_files.create_curve_secret, key_files.load_or_create_curve_secret),
]
each_kind = pytest.mark.parametrize("load, create, load_or_create", KINDS, ids=["signing", "curve"])


class Fixed:
    """Chance that is always the same."""

    def bytes(self, n: int) -> bytes:
        return bytes(range(n))


def code(load: Load, path: Path) -> Code:
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in caught.value.sentence and caught.value.next_step
    return caught.value.code


@each_kind
def test_a_key_is_made_once_and_read_ever_after(tmp_path: Path, load: Load, create: Make, load_or_create: Make) -> None:
    path = tmp_path / "keys" / "node"
    made = load_or_create(path, SystemEntropy())
    assert len(made) == 32 and load(path) == load_or_create(path, SystemEntropy()) == made
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@each_kind
def test_a_key_is_never_overwritten(tmp_path: Path, load: Load, create: Make, load_or_create: Make) -> None:
    made = create(tmp_path / "node", SystemEntropy())
    assert code(lambda path: create(path, SystemEntropy()), tmp_path / "node") == Code.KEY_FILE_UNSAFE
    assert load(tmp_path / "node") == made


@each_kind
def test_a_missing_key_is_named(tmp_path: Path, load: Load, create: Make, load_or_create: Make) -> None:
    assert code(load, tmp_path / "node") == Code.KEY_FILE_MALFORMED


@each_kind
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, load: Load, create: Make, load_or_create: Make) -> None:
    path = tmp_path / "node"
    create(path, SystemEntropy())
    path.chmod(0o640)
    assert code(load, path) == code(lambda one: load_or_create(one, SystemEntropy()), path) == Code.KEY_FILE_UNSAFE


@each_kind
def test_a_link_to_nowhere_is_refused_and_not_written_through(
    tmp_path: Path, load: Load, create: Make, load_or_create: Make
) -> None:
    (tmp_path / "node").symlink_to(tmp_path / "target")
    assert code(lambda path: load_or_create(path, SystemEntropy()), tmp_path / "node") == Code.KEY_FILE_UNSAFE
    assert not (tmp_path / "target").exists()


def other_pem(key: object) -> bytes:
    assert hasattr(key, "private_bytes")
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return data


SIGNING_MALFORMED = {
    "empty": b"",
    "text": b"hello\n",
    "seed alone": SEED,
    "cut": PEM[:-30],
    "another kind of key": other_pem(generate_private_key(SECP256R1())),
    "with a passphrase": Ed25519PrivateKey.from_private_bytes(SEED).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    ),
}


@pytest.mark.parametrize("data", SIGNING_MALFORMED.values(), ids=SIGNING_MALFORMED)
def test_a_file_without_an_ed25519_key_is_refused(tmp_path: Path, data: bytes) -> None:
    create_private_file(tmp_path / "node", data)
    assert code(key_files.load_signing_key, tmp_path / "node") == Code.KEY_FILE_MALFORMED


def curve_block(secret: bytes) -> bytes:
    name = b"FLOTTA-P2P CURVE SECRET KEY-----\n"
    return b"-----BEGIN " + name + base64.b64encode(secret) + b"\n-----END " + name


CURVE_MALFORMED = {
    "empty": b"",
    "base64 alone": base64.b64encode(SEED),
    "31 bytes": curve_block(SEED[:31]),
    "33 bytes": curve_block(SEED + b"x"),
    "cut": curve_block(SEED)[:-1],
    "something after": curve_block(SEED) + b"\n",
    "no base64": curve_block(SEED).replace(b"AAEC", b"A*EC"),
    "signing key": PEM,
}


@pytest.mark.parametrize("data", CURVE_MALFORMED.values(), ids=CURVE_MALFORMED)
def test_a_file_without_a_curve_secret_is_refused(tmp_path: Path, data: bytes) -> None:
    create_private_file(tmp_path / "node", data)
    assert code(key_files.load_curve_secret, tmp_path / "node") == Code.KEY_FILE_MALFORMED


@given(data=st.binary(max_size=300) | st.binary(max_size=90).map(curve_block))
def test_any_bytes_give_a_key_or_the_one_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "node"
    create_private_file(path, data)
    for load in (key_files.load_signing_key, key_files.load_curve_secret):
        try:
            assert len(load(path)) == 32
        except ConfigError as error:
            assert error.code == Code.KEY_FILE_MALFORMED


def test_the_signing_key_file_is_plain_pkcs8(tmp_path: Path) -> None:
    assert key_files.create_signing_key(tmp_path / "node", Fixed()) == SEED
    assert (tmp_path / "node").read_bytes() == PEM
    assert isinstance(load_pem_private_key(PEM, None), Ed25519PrivateKey)


def test_a_curve_secret_is_one_that_zeromq_takes(tmp_path: Path) -> None:
    secret = key_files.create_curve_secret(tmp_path / "curve", SystemEntropy())
    assert len(zmq.curve_public(z85.encode(secret))) == 40


def test_no_message_holds_a_part_of_the_key(tmp_path: Path) -> None:
    create_private_file(tmp_path / "node", curve_block(SEED) + b"x")
    with pytest.raises(ConfigError) as caught:
        key_files.load_curve_secret(tmp_path / "node")
    assert base64.b64encode(SEED).decode()[:8] not in str(caught.value)
