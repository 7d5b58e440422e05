"""A proxy, as a person writes it: `socks5://[user:password@]host:port` or `http://[user:password@]host:port`."""

from __future__ import annotations

from typing import Final, Literal, NoReturn
from urllib.parse import unquote_to_bytes

from protocol.errors import AddressError, Code, ConfigError
from protocol.key_statement import parse_address
from protocol.limits import PROXY_LOGIN_BYTES_MAX
from protocol.record import Record
from protocol.secret_text import SecretText

Kind = Literal["socks5", "http"]
PROXY_RULE: Final = "socks5://[user:password@]host:port or http://[user:password@]host:port"
_STEP: Final = f"write {PROXY_RULE}"
_NEAR_MISSES: Final = {
    "socks5h": "names are always resolved by the proxy: write socks5://",
    "socks4": "flotta-p2p speaks SOCKS 5, not 4",
    "socks4a": "flotta-p2p speaks SOCKS 5, not 4",
    "https": "flotta-p2p speaks to a proxy by http://, without TLS; what it sends through it is encrypted anyway",
}


class Proxy(Record, frozen=True):
    """Where it is and what it is asked by. `str()` never shows user or password; both are there, or neither."""

    kind: Kind
    host: str
    port: int
    user: str = ""
    password: SecretText | None = None

    def __str__(self) -> str:
        return f"{self.kind}://{self.host}:{self.port}"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


def parse_proxy(text: str) -> Proxy:
    """User and password may be percent-encoded. Raises ConfigError(CONFIG_VALUE_WRONG), which shows neither."""
    scheme, mark, rest = text.strip().partition("://")
    kind = scheme.lower()
    if kind in _NEAR_MISSES:
        _refuse(_NEAR_MISSES[kind])
    if not mark or kind not in ("socks5", "http"):
        _refuse("this is no address of a proxy")
    login, at, place = rest.rpartition("@")
    try:
        host, port = parse_address(place)
    except AddressError:
        _refuse("the host and port of the proxy do not read")
    user, password = _login(login) if at else ("", None)
    return Proxy(kind="socks5" if kind == "socks5" else "http", host=host, port=port, user=user, password=password)


def _login(text: str) -> tuple[str, SecretText]:
    user_text, _, password_text = text.partition(":")
    try:
        user, password = (unquote_to_bytes(part).decode() for part in (user_text, password_text))
    except UnicodeError:  # either way: a command line may hold bytes that are no text
        _refuse("user or password of the proxy is not UTF-8 text")
    for part in (user, password):
        if not 0 < len(part.encode()) <= PROXY_LOGIN_BYTES_MAX or not part.isprintable():
            _refuse(
                f"user and password of the proxy have 1 to {PROXY_LOGIN_BYTES_MAX} bytes each, "
                "without control characters"
            )
    if ":" in user:
        _refuse("the user of the proxy holds a colon")
    return user, SecretText(password)


def _refuse(sentence: str) -> NoReturn:
    raise ConfigError(Code.CONFIG_VALUE_WRONG, sentence, next_step=_STEP)
