"""The keys of a group as the records of `schema` describe them."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from flotta_p2p.configuration.shapes import Key, ListOf, Section, Shape, Value


@dataclass(frozen=True)
class Described:
    """One key: what it may hold, what it means, and its default, unless it must be given."""

    shape: Shape
    about: Key
    required: bool
    default: Any

    @property
    def default_words(self) -> str:
        """What holds without the key, for a person; "" for a key that must be given and for a group of keys."""
        if self.required or isinstance(self.shape, type):
            return ""
        return self.about.default or _in_yaml(self.default)


@functools.cache
def keys_of(kind: type[Section]) -> Mapping[str, Described]:
    """The keys of a group, in the order of its record."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {one.name: _described(hints[one.name], one) for one in msgspec.structs.fields(kind)}


def _described(hint: Any, field: msgspec.structs.FieldInfo) -> Described:
    said = hint.__metadata__
    shape = next((one for one in said if isinstance(one, Value | ListOf)), hint.__origin__)
    about = next(one for one in said if isinstance(one, Key))
    return Described(shape, about, field.required, field.default)


def _in_yaml(default: Any) -> str:
    match default:
        case None | () | frozenset():
            return "none"
        case bool():
            return str(default).lower()
        case _:
            return str(default)


def all_keys(kind: type[Section], around: str = "") -> Iterator[tuple[str, Described]]:
    """Every key below a group with its path, such as `datasources[].policy.columns`, groups before what is in them."""
    for name, key in keys_of(kind).items():
        path = f"{around}{name}"
        yield path, key
        match key.shape:
            case ListOf(item=type() as item):
                yield from all_keys(item, f"{path}[].")
            case type() as group:
                yield from all_keys(group, f"{path}.")
