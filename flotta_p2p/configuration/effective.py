"""What a node starts from, as the file that would say all of it: `flotta-p2p config show`. Secrets are masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from flotta_p2p.configuration.keys import Described, keys_of
from flotta_p2p.configuration.plain_yaml import in_yaml
from flotta_p2p.configuration.schema import Configuration, Document, Join
from flotta_p2p.configuration.shapes import Section
from protocol.ids import format_id
from protocol.secret_text import SecretText

_MASK: Final = "***"
_SOURCES_POLICY: Final = ".policy."
_NAMING: Final = "datasources"  # the part of the file where a project may stand for its token

Names = Mapping[Any, str]  # of projects, by their tokens: shown in the token's place


def effective_values(configuration: Configuration, names: Names) -> dict[str, Any]:
    """For `--json`: the whole file as plain values, and the paths of the keys that have their defaults."""
    document = _document(configuration)
    paths = [path for path, _ in _paths(document, "")]
    return {
        "configuration": {
            name: _plain(getattr(document, name), names if name == _NAMING else {}) for name in keys_of(Document)
        },
        "defaults": [path for path in paths if _origin(path, configuration.given) == "default"],
    }


def effective_yaml(configuration: Configuration, names: Names) -> str:
    """The whole file. A comment says of each value that the file does not give where it is from."""
    return "\n".join(_Writer(configuration.given, names).section(_document(configuration), "", "")) + "\n"


def _document(configuration: Configuration) -> Document:
    """As `configuration` would stand in a file."""
    in_memory = configuration.database_file is None
    return Document(
        workdir=configuration.workdir,
        mode=configuration.mode,
        node=configuration.node,
        join=Join(first=configuration.first, url=configuration.join_url),
        datasources=configuration.datasources,
        database=replace(configuration.database, memory=in_memory, host=configuration.database_file),
        settings=replace(configuration.settings, discovery=configuration.discovery, keys=configuration.keys),
    )


def _paths(section: Section, path: str) -> Iterator[tuple[str, Any]]:
    """Every key that holds a value, with that value; the keys of groups are below them."""
    for name in keys_of(type(section)):
        inner, value = f"{path}{name}", getattr(section, name)
        if isinstance(value, Section):
            yield from _paths(value, f"{inner}.")
        elif _is_list_of_sections(value):
            for index, item in enumerate(value):
                yield from _paths(item, f"{inner}[{index}].")
        else:
            yield inner, value


def _is_list_of_sections(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], Section)


def _origin(path: str, given: frozenset[str]) -> str:
    """Where a value is from: "" for the file's own key."""
    if path in given:
        return ""
    around, own, name = path.partition(_SOURCES_POLICY)
    shared = f"settings.policy.{name}"
    return shared if own and around != "settings" and shared in given else "default"


def _plain(value: Any, names: Names) -> Any:
    match value:
        case Section():
            return {name: _plain(getattr(value, name), names) for name in keys_of(type(value))}
        case None | bool() | int() | float() | str():
            return value
        case SecretText():
            return names.get(value, _MASK)
        case bytes():
            return format_id(value)
        case tuple():
            return [_plain(one, names) for one in value]
        case frozenset():
            return sorted(_plain(one, names) for one in value)
        case _:  # a path, an address: what `str` gives is what the file holds
            return str(value)


class _Writer:
    def __init__(self, given: frozenset[str], names: Names) -> None:
        self._given = given
        self._names = names

    def section(self, section: Section, path: str, indent: str) -> Iterator[str]:
        for name, key in keys_of(type(section)).items():
            value, inner = getattr(section, name), f"{path}{name}"
            if isinstance(value, Section):
                yield f"{indent}{name}:"
                yield from self.section(value, f"{inner}.", f"{indent}  ")
            elif _is_list_of_sections(value):
                yield f"{indent}{name}:"
                yield from self._items(value, inner, indent)
            else:
                names = self._names if path.startswith(_NAMING) else {}
                yield f"{indent}{name}: {in_yaml(_plain(value, names))}{self._comment(inner, value, key)}"

    def _items(self, items: tuple[Section, ...], path: str, indent: str) -> Iterator[str]:
        for index, item in enumerate(items):
            first, *rest = self.section(item, f"{path}[{index}].", f"{indent}    ")
            yield f"{indent}  - {first.strip()}"
            yield from rest

    def _comment(self, path: str, value: Any, key: Described) -> str:
        origin = _origin(path, self._given)
        words = f": {key.default_words}" if value is None and key.default_words else ""
        return f"  # {origin}{words}" if origin else ""
