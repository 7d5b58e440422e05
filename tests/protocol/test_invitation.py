"""The line of an invitation: what was written is read, and nothing that was altered is."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Code, ConfigError
from protocol.ids import node_id
from protocol.invitation import (
    PREFIX,
    Invitation,
    format_invitation,
    invitation_key,
    invitation_secret,
    parse_invitation,
)
from protocol.limits import INVITATION_CHARS_MAX
from protocol.tokens import ProjectKey
from protocol.wire.codec import encode
from tests.protocol.builders import WALL_MS, node_key

SECRET = bytes(range(20))


def invitation(**changes: Any) -> Invitation:
    fields: dict[str, Any] = {
        "secret": SECRET,
        "node_key": node_key(1).public_key,
        "curve_key": b"c" * 32,
        "addresses": ("10.0.0.5:1456", "lab.example.org:443"),
        "project": "heart-study",
        "expires_ms": WALL_MS,
    }
    return Invitation(**(fields | changes))


LINE = format_invitation(invitation())


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        parse_invitation(text)
    assert error.value.code is Code.INVITATION_MALFORMED and error.value.next_step
    assert text.removeprefix(PREFIX)[:20] not in str(error.value) or len(text) < 30
    return error.value


def test_what_was_written_is_read() -> None:
    assert parse_invitation(LINE) == invitation()
    assert LINE.startswith(PREFIX) and len(LINE) < 280


def test_spaces_and_line_ends_of_a_mail_do_not_matter() -> None:
    assert parse_invitation(f"\n  {LINE[:40]}\r\n  {LINE[40:90]} {LINE[90:]}\n") == invitation()


@given(st.integers(len(PREFIX), len(LINE) - 1), st.characters(codec="ascii", categories=("L", "N", "P")))
def test_no_line_with_another_character_is_read(at: int, character: str) -> None:
    altered = LINE[:at] + character + LINE[at + 1 :]
    if altered != LINE:
        refused(altered)


@given(st.integers(0, len(LINE) - 1))
def test_no_part_of_a_line_is_read(length: int) -> None:
    refused(LINE[:length])


@given(st.text(max_size=300))
def test_any_text_gives_an_invitation_or_a_clear_refusal(text: str) -> None:
    refused(text)
    refused(PREFIX + text)


@pytest.mark.parametrize(
    "fields",
    [
        [2, SECRET, node_key(1).public_key, b"c" * 32, ["10.0.0.5:1"], "heart", WALL_MS],
        [1, SECRET[:16], node_key(1).public_key, b"c" * 32, ["10.0.0.5:1"], "heart", WALL_MS],
        [1, SECRET, bytes(32), b"c" * 32, ["10.0.0.5:1"], "heart", WALL_MS],
        [1, SECRET, node_key(1).public_key, b"c", ["10.0.0.5:1"], "heart", WALL_MS],
        [1, SECRET, node_key(1).public_key, b"c" * 32, [], "heart", WALL_MS],
        [1, SECRET, node_key(1).public_key, b"c" * 32, ["nowhere"], "heart", WALL_MS],
        [1, SECRET, node_key(1).public_key, b"c" * 32, ["10.0.0.5:1\n"], "heart", WALL_MS],
        [1, SECRET, node_key(1).public_key, b"c" * 32, ["10.0.0.5:1"], "../heart", WALL_MS],
        [1, SECRET, node_key(1).public_key, b"c" * 32, ["10.0.0.5:1"], "heart", -1],
        [1, SECRET],
        "text",
    ],
)
def test_a_line_that_checks_but_holds_something_else_is_refused(fields: Any) -> None:
    from protocol.invitation import _check

    body = encode(fields)
    refused(PREFIX + base64.urlsafe_b64encode(body + _check(body)).rstrip(b"=").decode())


def test_a_line_beyond_the_limit_is_refused() -> None:
    refused(LINE + "A" * INVITATION_CHARS_MAX)


def test_neither_repr_nor_error_shows_the_secret() -> None:
    assert SECRET.hex() not in repr(invitation()) and repr(SECRET) not in repr(invitation())
    error = refused(LINE[:-1] + ("A" if LINE[-1] != "A" else "B"))
    assert LINE[30:60] not in str(error)


def test_the_key_of_an_invitation_is_none_of_a_token() -> None:
    assert invitation_key(SECRET).project_id != ProjectKey.derive(SECRET.hex()).project_id
    assert invitation_key(SECRET).token is None
    assert invitation().key.project_id == invitation_key(SECRET).project_id


def test_each_nonce_and_each_node_has_its_own_secret() -> None:
    roots, nonces = (b"r" * 32, b"s" * 32), (b"n" * 16, b"m" * 16)
    assert len({invitation_secret(root, nonce) for root in roots for nonce in nonces}) == 4


def test_whom_it_names_is_the_node_that_is_dialled() -> None:
    inviter = invitation().inviter
    assert inviter.node == node_id(node_key(1).public_key)
    assert inviter.statement.curve_key == b"c" * 32 and inviter.statement.hints == ()
