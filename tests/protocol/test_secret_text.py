from __future__ import annotations

import pickle

import pytest

from protocol.names import is_name
from protocol.secret_text import SecretText


def test_a_secret_is_masked_and_revealed_only_when_asked() -> None:
    secret = SecretText("hidden")
    assert (f"{secret}", repr(secret), repr([secret])) == ("***", "SecretText('***')", "[SecretText('***')]")
    assert secret.reveal() == "hidden"


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert SecretText("ä") == SecretText("ä") != SecretText("b")
    assert SecretText("a") != "a" and len({SecretText("a"), SecretText("a")}) == 1


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(SecretText("hidden"))


@pytest.mark.parametrize("text", ["a", "7", "heart-study_2.0", "x" * 64])
def test_names_are_accepted(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "-a", ".a", "_a", "a/b", "a b", "a\n", "é", "²", "x" * 65])
def test_what_is_no_name_is_refused(text: str) -> None:
    assert not is_name(text)
