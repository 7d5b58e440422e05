"""Only the node that a frame was sealed for opens it, and only as its sender's."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.adapters.sealing import SealKeys, derive_seal_keys, seal_for, unseal

ANNA, BERT = derive_seal_keys(b"a" * 32), derive_seal_keys(b"b" * 32)
WAY = {"sender": b"s" * 32, "receiver": b"r" * 32}


@given(frame=st.binary(max_size=2_000))
def test_the_receiver_opens_what_was_sealed_for_it(frame: bytes) -> None:
    sealed = seal_for(ANNA.public, frame, **WAY)
    assert sealed is not None and unseal(ANNA, sealed, **WAY) == frame


def test_equal_frames_are_sealed_differently() -> None:
    assert seal_for(ANNA.public, b"frame", **WAY) != seal_for(ANNA.public, b"frame", **WAY)


@pytest.mark.parametrize("wrong", [{"sender": b"x" * 32}, {"receiver": b"x" * 32}])
def test_a_seal_is_bound_to_sender_and_receiver(wrong: dict[str, bytes]) -> None:
    sealed = seal_for(ANNA.public, b"frame", **WAY)
    assert sealed is not None and unseal(ANNA, sealed, **(WAY | wrong)) is None


def test_another_node_does_not_open_it() -> None:
    sealed = seal_for(ANNA.public, b"frame", **WAY)
    assert sealed is not None and unseal(BERT, sealed, **WAY) is None


def test_every_altered_byte_and_every_length_is_noticed() -> None:
    sealed = seal_for(ANNA.public, b"frame", **WAY)
    assert sealed is not None
    for at in range(len(sealed)):
        altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        assert unseal(ANNA, altered, **WAY) is None
        assert unseal(ANNA, sealed[:at], **WAY) is None


@given(sealed=st.binary(max_size=200))
def test_nonsense_does_not_open(sealed: bytes) -> None:
    assert unseal(ANNA, sealed, **WAY) is None


@pytest.mark.parametrize("key", [bytes(32), b"\1" + bytes(31), b"short", b""])
def test_nothing_is_sealed_with_a_key_that_is_no_good(key: bytes) -> None:
    assert seal_for(key, b"frame", **WAY) is None


def test_the_pair_follows_from_the_transport_key_and_is_not_that_key() -> None:
    secret = os.urandom(32)
    assert derive_seal_keys(secret) == derive_seal_keys(secret)
    assert derive_seal_keys(secret).secret != secret


def test_no_repr_shows_the_secret() -> None:
    assert SealKeys(secret=b"\xab" * 32, public=b"p" * 32).__repr__().count("ab" * 4) == 0
