import hashlib
import hmac
from itertools import product

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from protocol.errors import Code, ConfigError, LocalProtocolError
from protocol.tokens import ProjectKey, check_token, new_token

KEY = ProjectKey(bytes(range(32)))
PARTIES = (b"a" * 32, b"b" * 32, b"c" * 32, b"d" * 32, b"e" * 32, b"f" * 32)


@given(st.binary(min_size=20, max_size=20))
def test_a_generated_token_passes(entropy: bytes) -> None:
    check_token(new_token(entropy))


@given(
    st.binary(min_size=20, max_size=20),
    st.integers(5, 38),
    st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"),
)
def test_a_mistyped_token_is_found(entropy: bytes, place: int, character: str) -> None:
    token = new_token(entropy)
    typed = token[:place] + character + token[place + 1 :]
    if typed == token:
        return
    with pytest.raises(ConfigError) as caught:
        check_token(typed, standalone=True)
    assert caught.value.code == Code.TOKEN_MALFORMED
    assert typed not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", " x", "x\n", "x\0y", "tökén", "x" * 257, "fp2p_", new_token(bytes(20)).upper(), "FP2P_abc"]
)
def test_a_malformed_token_is_refused_even_when_alone(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_token(text, standalone=True)
    assert caught.value.code == Code.TOKEN_MALFORMED
    assert caught.value.next_step


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "58981bcbab77ef4b8e01207134c38873e0936a9ab88cd76b243a2e2c85390b94",
        "58981BCBAB7",
        "a" * 100,
        "ab" * 50,
        "0123456789abcdef" * 4,
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "98765432109876543210987654321098765432109876",
        "correct horse battery staple correct horse",
        "thequickbrownfoxjumpsoverthelazydog",
        hashlib.sha256(b"x").hexdigest()[:31],
    ],
)
def test_a_token_that_could_be_guessed_is_refused_unless_alone(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_token(text)
    assert caught.value.code == Code.TOKEN_WEAK
    assert text not in str(caught.value)
    check_token(text, standalone=True)


@given(st.binary(min_size=16, max_size=16))
def test_128_random_bits_in_hexadecimal_pass(entropy: bytes) -> None:
    check_token(hashlib.sha256(entropy).hexdigest()[:32])


def test_a_token_is_made_of_160_bits() -> None:
    with pytest.raises(LocalProtocolError):
        new_token(bytes(16))


def test_deriving_is_scrypt_of_the_token() -> None:
    token = new_token(bytes(range(20)))
    expected = hashlib.scrypt(token.encode(), salt=b"flotta-p2p/project-token/v1", n=16384, r=8, p=1, dklen=32)
    key = ProjectKey.derive(token)
    assert key.project_id == hmac.new(expected, b"id", "sha256").digest()[:16]
    assert token not in repr(key) and expected.hex() not in repr(key)


def test_the_door_pair_is_a_curve_pair_of_zeromq() -> None:
    assert zmq.curve_public(z85.encode(KEY.door_secret)) == z85.encode(KEY.door_public)


def test_a_proof_passes_for_its_own_role_and_parties_only() -> None:
    proof = KEY.proof("joiner", *PARTIES)
    assert len(proof) == 32
    assert KEY.check_proof("joiner", *PARTIES, proof)
    assert not KEY.check_proof("responder", *PARTIES, proof)
    assert not ProjectKey(bytes(32)).check_proof("joiner", *PARTIES, proof)
    assert not KEY.check_proof("joiner", *PARTIES, b"")
    for place in range(6):
        changed = [*PARTIES]
        changed[place] = b"x" * 32
        a, b, c, d, e, f = changed
        assert not KEY.check_proof("joiner", a, b, c, d, e, f, proof)


def test_bytes_cannot_move_between_the_fields_of_a_proof() -> None:
    proofs = {KEY.proof("joiner", a, b, b"", b"", b"", b"") for a, b in product((b"", b"x", b"xx"), repeat=2)}
    assert len(proofs) == 9


def test_a_proof_has_one_of_two_roles() -> None:
    with pytest.raises(LocalProtocolError):
        KEY.proof("observer", *PARTIES)


def test_a_submit_proof_passes_for_its_own_job_and_submitter_only() -> None:
    proof = KEY.submit_proof(b"j" * 32, b"k" * 32)
    assert KEY.check_submit_proof(b"j" * 32, b"k" * 32, proof)
    assert not KEY.check_submit_proof(b"x" * 32, b"k" * 32, proof)
    assert not KEY.check_submit_proof(b"j" * 32, b"x" * 32, proof)


def test_hints_differ_by_node_and_by_project() -> None:
    hints = {key.hint(node) for key in (KEY, ProjectKey(bytes(32))) for node in (b"a" * 32, b"b" * 32)}
    assert len(hints) == 4 and all(len(hint) == 8 for hint in hints)
