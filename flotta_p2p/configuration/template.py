"""The file of `flotta-p2p config init`: every key with its meaning, made from the schema."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from flotta_p2p.configuration.keys import Described, keys_of
from flotta_p2p.configuration.schema import Document
from flotta_p2p.configuration.shapes import ListOf, Section

PROJECT: Final = "heart-study"  # the example's
_WIDTH_CHARS: Final = 100
_WORDS_MARK: Final = "# "
_WANTED: Final = ("datasources",)  # a list that is written out: without it a node has nothing to offer
_HEAD: Final = """\
# The configuration of a flotta-p2p node. A key that is commented out has its default and shows an example: remove the
# one "#" before it to use it. `flotta-p2p config check FILE` tells what is wrong, `flotta-p2p up -c FILE` runs it.
"""


@dataclass(frozen=True)
class _Line:
    """`mark` is "# " before words for a person, "#" before a key that is off, and else nothing."""

    indent: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.indent}{self.mark}{self.text}"


def template(*, every_key: bool = False) -> str:
    """The file. With `every_key` nothing is commented out, so that all examples stand together."""
    lines = _section(Document, "", "" if every_key else "#")
    return "\n".join([_HEAD, *map(str, lines)]) + "\n"


def _section(kind: type[Section], indent: str, optional: str, needed: str = "") -> Iterator[_Line]:
    """The lines of a group of keys, with the marks of keys that may be left out and of those that may not."""
    for name, key in keys_of(kind).items():
        yield from _words(key, indent)
        match key.shape:
            case ListOf(item=type() as item):
                off = "" if name in _WANTED else optional
                yield _Line(indent, off, f"{name}:")
                yield from _item(item, f"{indent}  ", optional, off)
            case type() as group:
                yield _Line(indent, "", f"{name}:")
                yield from _section(group, f"{indent}  ", optional)
            case _:
                example = key.about.example or key.default_words
                yield _Line(indent, needed if key.required else optional, f"{name}: {example}")
        if not indent:
            yield _Line("", "", "")


def _item(kind: type[Section], indent: str, optional: str, needed: str) -> Iterator[_Line]:
    """One entry of a list of groups."""
    lines = list(_section(kind, f"{indent}  ", optional, needed))
    first = next(at for at, line in enumerate(lines) if line.mark != _WORDS_MARK)
    lines[first] = replace(lines[first], indent=indent, text=f"- {lines[first].text}")
    return iter(lines)


def _words(key: Described, indent: str) -> Iterator[_Line]:
    default = f" Default: {key.default_words}." if key.default_words else ""
    needed = " Must be given." if key.required else ""
    meaning = key.about.meaning[0].upper() + key.about.meaning[1:]
    text = f"{meaning}.{default}{needed}".replace("`", "")
    for line in textwrap.wrap(text, _WIDTH_CHARS - len(indent)):
        yield _Line(indent, _WORDS_MARK, line)
