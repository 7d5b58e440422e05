"""CONNECT byte by byte, after RFC 9110, RFC 9112 and RFC 7617."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Code, FlottaError
from protocol.limits import PROXY_HEAD_BYTES_MAX
from protocol.proxies.connect import Connect
from protocol.proxies.proxy import Proxy, parse_proxy

PLAIN = parse_proxy("http://proxy:3128")
WITH_LOGIN = parse_proxy("http://Aladdin:open%20sesame@proxy:3128")
OPEN = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"


def connect(proxy: Proxy = PLAIN) -> Connect:
    one = Connect(proxy, "server.example.com", 80)
    one.begin()
    return one


def failed(answer: bytes, proxy: Proxy = PLAIN) -> FlottaError:
    one = connect(proxy)
    with pytest.raises(FlottaError) as error:
        one.take(answer)
    assert error.value.next_step
    assert "sesame" not in str(error.value)
    return error.value


def test_the_request_is_that_of_the_rfc() -> None:
    one = Connect(PLAIN, "server.example.com", 80)
    assert one.begin() == b"CONNECT server.example.com:80 HTTP/1.1\r\nHost: server.example.com:80\r\n\r\n"


def test_the_login_is_the_vector_of_the_rfc() -> None:
    line = b"\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"
    assert line in Connect(WITH_LOGIN, "server.example.com", 80).begin()


@pytest.mark.parametrize(
    "answer",
    [
        OPEN,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 204\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n",  # both say nothing here
        b"HTTP/1.1 100 Continue\r\n\r\n" + OPEN,
        b"HTTP/1.1 200 OK\nVia: one\n\n",
    ],
)
@given(st.data())
def test_a_way_opens_whatever_the_pieces_and_what_follows_is_the_targets(answer: bytes, data: st.DataObject) -> None:
    stream = answer + b"\xff first bytes\r\n\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    one, rest = connect(), b""
    for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True):
        if one.is_open:
            rest += stream[start:end]
        else:
            assert one.take(stream[start:end]) == b""
    assert one.is_open
    assert one.rest + rest == b"\xff first bytes\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (b"403 Forbidden", Code.PROXY_REFUSED),
        (b"404 Not Found", Code.PROXY_REFUSED),
        (b"405 Method Not Allowed", Code.PROXY_REFUSED),
        (b"301 Moved", Code.PROXY_REFUSED),
        (b"500 Oops", Code.PROXY_REFUSED),
        (b"502 Bad Gateway", Code.NODE_UNREACHABLE),
        (b"503 Unavailable", Code.NODE_UNREACHABLE),
        (b"504 Gateway Timeout", Code.NODE_UNREACHABLE),
        (b"407 Login", Code.PROXY_PASSWORD_WRONG),
    ],
)
def test_each_status_has_its_name_and_is_shown(status: bytes, code: Code) -> None:
    error = failed(b"HTTP/1.1 " + status + b"\r\nContent-Type: text/html\r\n\r\n<html>")
    assert error.code == code
    assert status[:3].decode() in str(error)


def test_a_login_that_is_not_spoken_here_is_named() -> None:
    head = b"HTTP/1.1 407 Login\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Negotiate\r\n\r\n"
    assert "NTLM or Negotiate; flotta-p2p knows Basic alone" in str(failed(head, WITH_LOGIN))
    both = head.replace(b"Negotiate", b"BASIC realm=x")
    assert "does not accept this user and password" in str(failed(both, WITH_LOGIN))
    assert "wants a user and a password" in str(failed(both))


def test_what_a_proxy_says_cannot_move_the_cursor() -> None:
    error = failed(b"HTTP/1.1 403 \x1b[2Jgone\xff" + b"x" * 500 + b"\r\n\r\n")
    assert str(error).isprintable()
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x05\x00",
        b"\x15\x03\x01\x00\x02\x02\x16",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (PROXY_HEAD_BYTES_MAX // 6),
        b"HTTP/1.1 100 Wait\r\n\r\n" * (PROXY_HEAD_BYTES_MAX // 20),
    ],
)
def test_what_is_no_answer_of_http_or_does_not_end_is_refused(answer: bytes) -> None:
    assert failed(answer).code == Code.PROXY_MALFORMED


@given(st.lists(st.binary(max_size=60), max_size=6), st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n"]))
def test_whatever_a_proxy_says_the_answer_is_an_error_of_ours_or_none(answers: list[bytes], start: bytes) -> None:
    one = connect(WITH_LOGIN)
    try:
        for answer in (start, *answers):
            if not one.is_open:
                one.take(answer)
    except FlottaError as error:
        assert "sesame" not in str(error)
