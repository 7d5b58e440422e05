"""What a key of the configuration file may hold, and what it means. The records of `schema` say both for each key."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from protocol.errors import AddressError, Code, ConfigError
from protocol.ids import parse_id
from protocol.key_statement import parse_address
from protocol.limits import NODE_PORT
from protocol.names import NAME_PATTERN, NAME_RULE, is_name
from protocol.proxies.proxy import PROXY_RULE, parse_proxy
from protocol.secret_text import SecretText
from protocol.tokens import check_token

# What JSON Schema can say of text: `no` and `007` are text, where text is wanted.
_TEXT_IN_JSON: Final[Mapping[str, Any]] = {"type": ["string", "number", "boolean"]}


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the records of `schema`: a group of keys."""


class Address(msgspec.Struct, frozen=True):
    """Where a node is reached; `str()` is `host:port`. `scheme` is `http` or `https` if it was written."""

    host: str
    port: int
    scheme: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Key:
    """What a key means: the one source of the manual's tables, of the file of `config init` and of the JSON Schema.

    `example` is YAML. `default` says in words what holds without the key, where the field's own default does not.
    """

    meaning: str
    example: str = ""
    default: str = ""


@dataclass(frozen=True)
class Value:
    """A scalar. `parse` raises ValueError unless the text is as `expected`, or a FlottaError of its own.

    `json` is what JSON Schema can say of it: all that `parse` takes, and perhaps more.
    """

    expected: str
    parse: Callable[[str], Any]
    secret: bool = False  # a secret is never quoted in a message
    json: Mapping[str, Any] = field(default_factory=lambda: _TEXT_IN_JSON)


@dataclass(frozen=True)
class ListOf:
    """`least` to `most` entries. A file may write the text `word`, if there is one, in place of the list."""

    item: Shape
    most: int
    least: int = 0
    word: str | None = None
    build: Callable[[list[Any]], Any] = tuple


Shape = Value | ListOf | type[Section]

DAY_MS: Final = 86_400_000
_WHOLE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{0,18})?", re.ASCII)


def _number_in_json(kind: str, pattern: re.Pattern[str], least: float, most: float) -> Mapping[str, Any]:
    """Quoted or not."""
    bounds = {"minimum": least, "maximum": most}
    return {"anyOf": [{"type": kind, **bounds}, {"type": "string", "pattern": f"^{pattern.pattern}$"}]}


def whole(least: int, most: int, what: str = "a whole number") -> Value:
    def parse(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return Value(f"{what} from {least} to {most}", parse, json=_number_in_json("integer", _WHOLE, least, most))


def seconds(least: float, most: float) -> Value:
    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text) or not least <= float(text) <= most:
            raise ValueError
        return float(text)

    json = _number_in_json("number", _NUMBER, least, most)
    return Value(f"a number of seconds from {least:.10g} to {most:.10g}", parse, json=json)


def days(least_ms: int, most_ms: int, word: str) -> Value:
    """A number of days, with a fraction if need be, or `word`, which stays as it is."""

    def parse(text: str) -> float | str:
        if text == word:
            return word
        if not _NUMBER.fullmatch(text) or not least_ms <= float(text) * DAY_MS <= most_ms:
            raise ValueError
        return float(text)

    least, most = least_ms / DAY_MS, most_ms / DAY_MS
    json = _number_in_json("number", _NUMBER, least, most)
    return Value(
        f'a number of days from {least:.3g} to {most:.10g}, or "{word}"',
        parse,
        json={"anyOf": [*json["anyOf"], {"const": word}]},
    )


def choice(*words: str, later: tuple[str, ...] = ()) -> Value:
    """One of `words` in any case. The words `later` are known, but this version cannot do them."""
    *others, last = (f'"{word}"' for word in words)
    listed = f"{', '.join(others)} or {last}" if others else last

    def parse(text: str) -> str:
        word = text.lower()
        if word in later:
            raise ConfigError(Code.CONFIG_VALUE_WRONG, f'"{word}" is not part of this version yet; it can do {listed}')
        if word not in words:
            raise ValueError
        return word

    return Value(listed, parse, json={"enum": list(words)})


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError
    return text


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError
    return text


def _path(text: str) -> Path:
    if text.startswith("~"):
        raise ConfigError(Code.CONFIG_VALUE_WRONG, 'a path that begins with "~" is not replaced; write ${HOME} instead')
    return Path(_plain(text))


def _secret(text: str) -> SecretText:
    return SecretText(_plain(text))


def _token(text: str) -> SecretText:
    """Whether it is strong enough depends on the mode: see `checks`."""
    check_token(text, standalone=True)
    return SecretText(text)


def _interface(text: str) -> str:
    return "127.0.0.1" if text.lower() == "localhost" else str(ipaddress.IPv4Address(text))


def _address(text: str, default_port: int | None = None) -> Address:
    try:
        host, port = parse_address(text, default_port=default_port)
    except AddressError as error:
        raise ValueError from error
    scheme = text.partition("://")[0] if text.startswith(("http://", "https://")) else ""
    return Address(host, port, scheme)


def _id(text: str) -> bytes:
    try:
        return parse_id(text)
    except AddressError as error:
        raise ConfigError(error.code, error.sentence) from error


BOOLEAN: Final = Value("true or false", _boolean, json={"enum": [True, False, "true", "false"]})
TEXT: Final = Value("text without control characters", _plain)
NAME: Final = Value(f"a name of {NAME_RULE}", _name, json={**_TEXT_IN_JSON, "pattern": f"^{NAME_PATTERN}$"})
PATH: Final = Value("a path", _path)
PASSWORD: Final = Value("a password without control characters", _secret, secret=True)
TOKEN: Final = Value("a project token", _token, secret=True)
TOKEN_OR_PROJECT: Final = Value("a project token or the name of a project", _secret, secret=True)
INTERFACE: Final = Value('an IPv4 address of this machine, "0.0.0.0" for all of them or "localhost"', _interface)
ADDRESS: Final = Value("host:port, http://host:port or https://host:port", _address)
ADDRESS_OF_ANOTHER: Final = Value(
    "host, host:port, http://host:port or https://host:port", lambda text: _address(text, NODE_PORT)
)
PERSON: Final = Value("a person id", _id)
NODE: Final = Value("a node id", _id)
PORT: Final = whole(1, 65_535)
PROXY: Final = Value(PROXY_RULE, parse_proxy, secret=True)
