"""SOCKS 5 byte by byte, after RFC 1928 and RFC 1929."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Code, FlottaError
from protocol.proxies.proxy import Proxy, parse_proxy
from protocol.proxies.socks5 import Socks5

PLAIN = parse_proxy("socks5://proxy:1080")
WITH_LOGIN = parse_proxy("socks5://ada:secret@proxy:1080")
OPEN = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


def failed(proxy: Proxy, *answers: bytes) -> FlottaError:
    """How a handshake ends in which the proxy gives these answers."""
    one = Socks5(proxy, "node.example.org", 1456)
    one.begin()
    with pytest.raises(FlottaError) as error:
        for answer in answers:
            one.take(answer)
    assert error.value.next_step
    assert "secret" not in str(error.value)
    return error.value


def test_a_name_goes_to_the_proxy_as_it_is() -> None:
    one = Socks5(PLAIN, "node.example.org", 1456)
    assert one.begin() == b"\x05\x01\x00"
    assert one.take(b"\x05\x00") == b"\x05\x01\x00\x03\x10node.example.org\x05\xb0"
    assert not one.is_open
    assert one.take(OPEN) == b""
    assert one.is_open


def test_a_numeric_address_goes_as_four_bytes() -> None:
    one = Socks5(PLAIN, "192.0.2.7", 443)
    one.begin()
    assert one.take(b"\x05\x00") == b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\xbb"


def test_user_and_password_are_given_when_they_are_wanted() -> None:
    one = Socks5(WITH_LOGIN, "192.0.2.7", 443)
    assert one.begin() == b"\x05\x02\x00\x02"
    assert one.take(b"\x05\x02") == b"\x01\x03ada\x06secret"
    assert one.take(b"\x01\x00") == b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\xbb"
    one.take(OPEN)
    assert one.is_open


def test_a_proxy_that_wants_no_login_gets_none() -> None:
    one = Socks5(WITH_LOGIN, "192.0.2.7", 443)
    one.begin()
    assert b"secret" not in one.take(b"\x05\x00")


@pytest.mark.parametrize(
    "address", [b"\x01\x7f\x00\x00\x01", b"\x03\x05proxy", b"\x04" + bytes(16)], ids=["IPv4", "name", "IPv6"]
)
@given(st.data())
def test_answers_may_come_in_any_pieces_and_what_follows_is_the_targets(address: bytes, data: st.DataObject) -> None:
    stream = b"\x05\x02" + b"\x01\x00" + b"\x05\x00\x00" + address + b"\x04\x38" + b"\xff first bytes of the target"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    one = Socks5(WITH_LOGIN, "192.0.2.7", 443)
    sent = one.begin()
    rest = b""
    for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True):
        if one.is_open:
            rest += stream[start:end]
        else:
            sent += one.take(stream[start:end])
    assert one.is_open
    assert one.rest + rest == b"\xff first bytes of the target"
    assert sent.endswith(b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\xbb")


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (1, Code.PROXY_REFUSED, "does not say why"),
        (2, Code.PROXY_REFUSED, "rules do not allow"),
        (3, Code.NODE_UNREACHABLE, "network is unreachable"),
        (4, Code.NODE_UNREACHABLE, "host is unreachable"),
        (5, Code.NODE_UNREACHABLE, "connection was refused"),
        (6, Code.NODE_UNREACHABLE, "too many hops"),
        (7, Code.PROXY_REFUSED, "CONNECT"),
        (8, Code.PROXY_REFUSED, "kind of address"),
        (99, Code.PROXY_REFUSED, "reply 99"),
    ],
)
def test_each_reply_has_its_name(reply: int, code: Code, words: str) -> None:
    error = failed(PLAIN, b"\x05\x00", bytes((5, reply)))
    assert error.code == code
    assert words in str(error)
    assert "node.example.org:1456" in str(error)


@pytest.mark.parametrize(
    ("proxy", "answers", "code"),
    [
        (PLAIN, (b"\x05\xff",), Code.PROXY_PASSWORD_WRONG),
        (WITH_LOGIN, (b"\x05\xff",), Code.PROXY_PASSWORD_WRONG),
        (WITH_LOGIN, (b"\x05\x02", b"\x01\x01"), Code.PROXY_PASSWORD_WRONG),
        (PLAIN, (b"\x05\x02",), Code.PROXY_MALFORMED),  # it was not offered
        (WITH_LOGIN, (b"\x05\x01",), Code.PROXY_MALFORMED),
        (PLAIN, (b"\x04\x00",), Code.PROXY_MALFORMED),
        (PLAIN, (b"HTTP/1.1 400 Bad Request\r\n",), Code.PROXY_MALFORMED),
        (WITH_LOGIN, (b"\x05\x02", b"\x05\x00"), Code.PROXY_MALFORMED),
        (PLAIN, (b"\x05\x00", b"\x04\x00\x00\x01"), Code.PROXY_MALFORMED),
        (PLAIN, (b"\x05\x00", b"\x05\x00\x00\x02\x00"), Code.PROXY_MALFORMED),
    ],
)
def test_a_proxy_that_breaks_the_rules_or_refuses_the_login_is_told_apart(
    proxy: Proxy, answers: tuple[bytes, ...], code: Code
) -> None:
    assert failed(proxy, *answers).code == code


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_whatever_a_proxy_says_the_answer_is_an_error_of_ours_or_none(answers: list[bytes]) -> None:
    one = Socks5(WITH_LOGIN, "192.0.2.7", 443)
    one.begin()
    try:
        for answer in answers:
            if not one.is_open:
                one.take(answer)
    except FlottaError as error:
        assert "secret" not in str(error)
