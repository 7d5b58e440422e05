"""How a person writes a proxy."""

from __future__ import annotations

import pytest

from protocol.errors import Code, ConfigError
from protocol.limits import PROXY_LOGIN_BYTES_MAX
from protocol.proxies.proxy import Proxy, parse_proxy


@pytest.mark.parametrize(
    ("text", "kind", "host", "port", "user", "password"),
    [
        ("socks5://127.0.0.1:1080", "socks5", "127.0.0.1", 1080, "", None),
        ("http://proxy.example.org:3128", "http", "proxy.example.org", 3128, "", None),
        (" HTTP://proxy:3128/ ", "http", "proxy", 3128, "", None),
        ("socks5://ada:secret@proxy:1080", "socks5", "proxy", 1080, "ada", "secret"),
        ("http://ada%40lab:p%3Ass%25@proxy:3128", "http", "proxy", 3128, "ada@lab", "p:ss%"),
        ("http://ada:p@ss:w/rd@proxy:3128", "http", "proxy", 3128, "ada", "p@ss:w/rd"),
    ],
)
def test_both_kinds_are_read_with_and_without_login(
    text: str, kind: str, host: str, port: int, user: str, password: str | None
) -> None:
    found = parse_proxy(text)
    assert (found.kind, found.host, found.port, found.user) == (kind, host, port, user)
    assert (found.password.reveal() if found.password else None) == password


@pytest.mark.parametrize(
    "text",
    [
        "",
        "proxy:1080",
        "ftp://proxy:21",
        "socks5://proxy",
        "socks5://proxy:0",
        "socks5://:1080",
        "http://ada@proxy:3128",
        "http://ada:@proxy:3128",
        "http://:secret@proxy:3128",
        "http://a%3Ab:secret@proxy:3128",
        "http://ada:se%00cret@proxy:3128",
        "http://ada:%ff@proxy:3128",
        "http://ada:\udcff@proxy:3128",
        "http://ada:" + "x" * (PROXY_LOGIN_BYTES_MAX + 1) + "@proxy:3128",
    ],
)
def test_what_is_no_proxy_is_refused_without_showing_what_was_written(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_proxy(text)
    assert refused.value.code == Code.CONFIG_VALUE_WRONG
    assert "socks5://" in refused.value.next_step
    assert "secret" not in str(refused.value)
    assert "ada" not in str(refused.value)


@pytest.mark.parametrize(
    ("scheme", "hint"), [("socks5h", "resolved by the proxy"), ("socks4", "not 4"), ("https", "TLS")]
)
def test_kinds_that_people_know_from_elsewhere_get_a_hint(scheme: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        parse_proxy(f"{scheme}://proxy:1080")


def test_neither_user_nor_password_is_ever_shown() -> None:
    one: Proxy = parse_proxy("http://ada:secret@proxy:3128")
    assert str(one) == "http://proxy:3128"
    assert "secret" not in repr(one)
