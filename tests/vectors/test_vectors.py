"""Vectors, published and home-made; `SOURCES.md` says where each comes from and what independent code checked it."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import ids
from protocol.errors import AddressError, RemoteProtocolError
from protocol.eui import EUI
from protocol.signing import SigningKey, pae, verify
from protocol.wire.frame import FrameRules, open_frame, seal

FOLDER = Path(__file__).parent
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
FRAME_FIELDS = {"kind", "name", "frame", "own_id", "sender_key", "now_wall_ms", "allowed"}
SHAPES: dict[tuple[str, str | None], set[str]] = {
    ("rfc8032", None): {"name", "seed", "public_key", "message", "signature"},
    ("dsse", None): {"payload_type", "payload", "pae"},
    ("ids", "text"): {"kind", "bytes", "text"},
    ("ids", "node"): {"kind", "public_key", "bytes", "text"},
    ("ids", "job"): {"kind", "bytes", "text"},
    ("ids", "project"): {"kind", "bytes", "text"},
    ("ids", "invalid"): {"kind", "text", "fault"},
    ("euis", "valid"): {"kind", "text", "canonical", "path", "store_key"},
    ("euis", "invalid"): {"kind", "text", "fault"},
    ("frames", "valid"): FRAME_FIELDS | {"header", "body"},
    ("frames", "invalid"): FRAME_FIELDS | {"code"},
}


def vectors(file: str, *kinds: str) -> list[dict[str, Any]]:
    everything: list[dict[str, Any]] = json.loads((FOLDER / f"{file}.json").read_text())["vectors"]
    return [vector for vector in everything if not kinds or vector["kind"] in kinds]


@pytest.mark.parametrize("file", sorted({file for file, _ in SHAPES}))
def test_every_vector_has_a_known_shape(file: str) -> None:
    for vector in vectors(file):
        assert set(vector) == SHAPES[file, vector.get("kind")]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_names_its_source(path: Path) -> None:
    content = json.loads(path.read_text())
    assert content["source"] and content["vectors"]
    assert f"`{path.name}`" in (FOLDER / "SOURCES.md").read_text()


@pytest.mark.parametrize("vector", vectors("rfc8032"), ids=lambda vector: vector["name"])
def test_ed25519_as_in_rfc_8032(vector: dict[str, str]) -> None:
    seed, public_key, message, signature = (
        bytes.fromhex(vector[name]) for name in ("seed", "public_key", "message", "signature")
    )
    key = SigningKey(seed)
    assert key.public_key == public_key
    assert key.sign(message) == signature
    assert verify(public_key, signature, message)
    assert not verify(public_key, signature, message + b"\0")


@pytest.mark.parametrize("vector", vectors("dsse"), ids=lambda vector: vector["payload_type"])
def test_the_encoding_of_dsse(vector: dict[str, str]) -> None:
    assert pae(vector["payload_type"], vector["payload"].encode()) == vector["pae"].encode()


def _base32(data: bytes) -> str:
    characters = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << characters * 5 - len(data) * 8
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(characters)))


def _with_checks(plain: str) -> str:
    text = ""
    for part in (plain[at : at + 13] for at in range(0, 52, 13)):
        doubled = [ALPHABET.index(character) * (1, 2)[place % 2] for place, character in enumerate(part)]
        text += part + ALPHABET[-sum(sum(divmod(value, 32)) for value in doubled) % 32]
    return "-".join(text[at : at + 7] for at in range(0, 56, 7))


@pytest.mark.parametrize(
    "vector", vectors("ids", "text", "node", "job", "project"), ids=lambda vector: vector["text"][:9]
)
def test_ids_as_recomputed_by_hand(vector: dict[str, str]) -> None:
    data, text = bytes.fromhex(vector["bytes"]), vector["text"]
    match vector["kind"]:
        case "job":
            assert text == "j" + _base32(data).lower() == ids.format_job_id(data)
            assert ids.parse_job_id(text) == data
        case "project":
            assert text == "p" + data.hex() == ids.format_project_id(data)
            assert ids.parse_project_id(text) == data
        case _:
            assert text == _with_checks(_base32(data)) == ids.format_id(data)
            assert ids.parse_id(text) == data
            assert ids.short_id(data) == text[:7]


@pytest.mark.parametrize("vector", vectors("ids", "node"), ids=lambda vector: vector["text"][:7])
def test_a_node_id_is_the_hash_of_its_key(vector: dict[str, str]) -> None:
    public_key = bytes.fromhex(vector["public_key"])
    by_hand = hashlib.sha256(b"flotta-p2p-id-v1" + b"\x01" + public_key).hexdigest()
    assert vector["bytes"] == by_hand == ids.node_id(public_key).hex()


@pytest.mark.parametrize("vector", vectors("ids", "invalid"), ids=lambda vector: vector["fault"])
def test_an_invalid_id_is_refused(vector: dict[str, str]) -> None:
    with pytest.raises(AddressError):
        ids.parse_id(vector["text"])


@pytest.mark.parametrize("vector", vectors("euis", "valid"), ids=lambda vector: vector["text"][:40])
def test_an_address_has_its_text_path_and_key(vector: dict[str, Any]) -> None:
    eui = EUI.parse(vector["text"])
    assert str(eui) == vector["canonical"]
    if vector["path"] is None:
        with pytest.raises(AddressError):
            eui.path()
        return
    assert list(eui.path()) == vector["path"]
    assert eui.store_key().hex() == b"\0".join(part.encode() for part in vector["path"]).hex() == vector["store_key"]


@pytest.mark.parametrize("vector", vectors("euis", "invalid"), ids=lambda vector: vector["fault"])
def test_an_invalid_address_is_refused(vector: dict[str, str]) -> None:
    with pytest.raises(AddressError):
        EUI.parse(vector["text"])


def _rules(vector: dict[str, Any]) -> FrameRules:
    return FrameRules(
        own_id=bytes.fromhex(vector["own_id"]),
        allowed={int(number): cap for number, cap in vector["allowed"].items()},
        sender_key=bytes.fromhex(vector["sender_key"]),
        now_wall_ms=vector["now_wall_ms"],
    )


@pytest.mark.parametrize("vector", vectors("frames", "valid"), ids=lambda vector: vector["name"])
def test_a_frame_opens_and_is_sealed_again_to_the_same_bytes(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["frame"])
    opened = open_frame(raw, _rules(vector))
    for name, value in vector["header"].items():
        field = getattr(opened.header, name)
        assert (field.hex() if isinstance(field, bytes) else field) == value
    assert opened.body.hex() == vector["body"]
    assert seal(opened.header, opened.body, SigningKey(_sender_seed())) == raw


@pytest.mark.parametrize("vector", vectors("frames", "valid"), ids=lambda vector: vector["name"])
def test_a_frame_as_rebuilt_by_hand(vector: dict[str, Any]) -> None:
    fields, body = vector["header"], bytes.fromhex(vector["body"])
    head = b"FLP1" + b"\x01" + b"\x00" + struct.pack(">H", fields["type"]) + struct.pack(">I", len(body))
    head += bytes.fromhex(vector["sender_key"] + vector["own_id"])
    head += bytes.fromhex(fields["project"] + fields["message_id"] + fields["reply_to"])
    head += b"".join(struct.pack(">Q", fields[name]) for name in ("boot_id", "sequence", "issued_ms"))
    head += struct.pack(">I", fields["ttl_ms"]) + struct.pack(">Q", fields["fence"])
    signed = b"flotta-p2p/frame/v1\0" + struct.pack(">Q", 160) + head + hashlib.sha256(body).digest()
    signature = Ed25519PrivateKey.from_private_bytes(_sender_seed()).sign(signed)
    assert (head + signature + body).hex() == vector["frame"]


@pytest.mark.parametrize("vector", vectors("frames", "invalid"), ids=lambda vector: vector["name"])
def test_an_invalid_frame_is_refused_with_its_code(vector: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        open_frame(bytes.fromhex(vector["frame"]), _rules(vector))
    assert caught.value.code == vector["code"]


def _sender_seed() -> bytes:
    return bytes.fromhex(vectors("rfc8032")[1]["seed"])
