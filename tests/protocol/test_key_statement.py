"""Key statements: only what a node signed about itself is taken, and only within bounds."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import AddressError, Code, RemoteProtocolError
from protocol.key_statement import KeyStatement, hints_match, parse_address, sign_key_statement, verify_key_statement
from protocol.limits import ADDRESSES_PER_NODE_MAX, CLOCK_TOLERANCE_MS, PROJECTS_MAX, TXT_STATEMENT_BYTES_MAX
from protocol.signing import KEY_STATEMENT, envelope_bytes, sign_statement
from protocol.wire.codec import encode_record
from tests.protocol.builders import OTHER_PROJECT, PROJECT, WALL_MS, cancel_of, node_key, statement

KEY = node_key(1)
FIELDS: dict[str, Any] = {
    "version": 1,
    "curve_key": b"c" * 32,
    "seal_key": b"s" * 32,
    "addresses": ("10.0.0.1:1456",),
    "sequence": 1,
    "not_after_ms": WALL_MS,
    "name": "lab",
}


def signed(**changes: Any) -> bytes:
    return envelope_bytes(sign_statement(KEY_STATEMENT, encode_record(KeyStatement(**(FIELDS | changes))), KEY))


def test_a_statement_is_taken_until_it_has_expired_and_the_tolerance_is_over() -> None:
    data = signed()
    assert verify_key_statement(data, WALL_MS + CLOCK_TOLERANCE_MS).statement.name == "lab"
    with pytest.raises(RemoteProtocolError) as refused:
        verify_key_statement(data, WALL_MS + CLOCK_TOLERANCE_MS + 1)
    assert refused.value.code == Code.TIME_OUTSIDE


@pytest.mark.parametrize(
    "changes",
    [
        {"curve_key": b"short"},
        {"name": "n" * 65},
        {"name": "line\nbreak"},
        {"addresses": ("a:1",) * (ADDRESSES_PER_NODE_MAX + 1)},
        {"addresses": ("no port",)},
        {"addresses": ("\r10.0.0.1:1456",)},
        {"addresses": ("http://10.0.0.1:1456",)},
        {"hints": (b"",) * (PROJECTS_MAX + 1)},
        {"hints": (bytes(8),) * 500},
    ],
)
def test_a_field_outside_its_bounds_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        verify_key_statement(signed(**changes), 0)
    assert refused.value.code == Code.STATEMENT_MALFORMED


def test_each_byte_altered_is_refused() -> None:
    data = signed()
    for at in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            verify_key_statement(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], 0)


@pytest.mark.parametrize("data", [b"", b"\0" * (TXT_STATEMENT_BYTES_MAX + 1), cancel_of(b"j" * 32)])
def test_other_bytes_and_other_statements_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        verify_key_statement(data, 0)


def test_hints_that_do_not_fit_are_left_out_and_the_rest_still_matches() -> None:
    hints = tuple(bytes([number]) * 8 for number in range(PROJECTS_MAX))
    addresses = tuple(f"host-{number}.{'x' * 40}:1456" for number in range(ADDRESSES_PER_NODE_MAX))
    data = sign_key_statement(KeyStatement(**(FIELDS | {"hints": hints, "addresses": addresses})), KEY)
    assert len(data) <= TXT_STATEMENT_BYTES_MAX
    kept = verify_key_statement(data, 0).statement.hints
    assert 0 < len(kept) < PROJECTS_MAX and kept == hints[: len(kept)]


def test_the_hints_of_all_projects_fit_beside_a_usual_name_and_address() -> None:
    hints = tuple(bytes([number]) * 8 for number in range(PROJECTS_MAX))
    usual = {"name": "n" * 6, "addresses": ("192.168.100.100:65535",), "sequence": 2**63, "hints": hints}
    assert verify_key_statement(sign_key_statement(KeyStatement(**(FIELDS | usual)), KEY), 0).statement.hints == hints


def test_the_largest_statement_that_a_configuration_allows_fits_and_shows_some_projects() -> None:
    hints = tuple(bytes([number]) * 8 for number in range(PROJECTS_MAX))
    url = "h" * 253 + ":65535"
    others = tuple(f"192.168.100.{number}:65535" for number in range(100, 99 + ADDRESSES_PER_NODE_MAX))
    largest = {"name": "n" * 64, "addresses": (url, *others), "sequence": 2**63, "hints": hints}
    data = sign_key_statement(KeyStatement(**(FIELDS | largest)), KEY)
    assert len(data) <= TXT_STATEMENT_BYTES_MAX
    assert len(verify_key_statement(data, 0).statement.hints) == 18


def test_members_recognise_a_node_and_others_do_not() -> None:
    certified = statement(KEY)
    assert hints_match(certified, [PROJECT.hint(certified.node)])
    assert not hints_match(certified, [OTHER_PROJECT.hint(certified.node), PROJECT.hint(b"o" * 32)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lab:1456", ("lab", 1456)),
        (" 192.168.1.20:1 ", ("192.168.1.20", 1)),
        ("http://lab:65535/", ("lab", 65535)),
        ("https://a-b.example:80", ("a-b.example", 80)),
    ],
)
def test_an_address_reads(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lab",
        ":1",
        "lab:",
        "lab:0",
        "lab:65536",
        "lab:١٢",
        "lab:1e3",
        "lab:-1",
        "a b:1",
        "l/b:1",
        "x" * 300 + ":1",
        "ü:1",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse_address(text)
    assert refused.value.next_step
