"""From the plain tree to the records of `schema`, with every fault named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final

from flotta_p2p.configuration.keys import all_keys, keys_of
from flotta_p2p.configuration.schema import Document
from flotta_p2p.configuration.shapes import ListOf, Section, Shape, Value
from flotta_p2p.faults import Faults, quoted
from flotta_p2p.safe_yaml import Broken, Items, Keys, Leaf, Tree, kind_of
from protocol.errors import Code, FlottaError
from protocol.limits import NAME_CHARS_MAX

_FAULTY: Final = object()  # stands for a value whose fault has been reported


def convert(tree: Keys, faults: Faults) -> tuple[Document, dict[str, int]]:
    """The document, and the line of each key by its path such as `datasources[0].name`.

    Faults that leave every value whole, such as unknown keys, are only added to `faults`. Otherwise raises ConfigError
    with all of them, those that `faults` already held included.
    """
    converter = _Converter(faults)
    document = converter.section(tree, Document, "")
    if document is _FAULTY:
        faults.raise_if_any()
    return document, converter.lines


class _Converter:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.lines: dict[str, int] = {}

    def section(self, tree: Tree, kind: type[Section], path: str) -> Any:
        if not isinstance(tree, Keys):
            return self._wrong(tree, path, _expected(kind))
        keys = keys_of(kind)
        for name, entry in tree.entries.items():
            if name not in keys:
                self._unknown(entry.line, name, keys, path)
        values: dict[str, Any] = {}
        for name, key in keys.items():
            given = tree.entries.get(name)
            if given is not None and not _is_empty(given.value):
                inner = f"{path}.{name}" if path else name
                self.lines[inner] = given.line
                values[name] = self.value(given.value, key.shape, inner)
        missing = [name for name, key in keys.items() if key.required and name not in values]
        for name in missing:
            self._faults.add(tree.line, f'{path} has no "{name}"; expected {_expected(keys[name].shape)}')
        if missing or any(value is _FAULTY for value in values.values()):
            return _FAULTY
        return kind(**values)

    def value(self, tree: Tree, shape: Shape, path: str) -> Any:
        match shape:
            case Value():
                return self._scalar(tree, shape, path)
            case ListOf():
                return self._list(tree, shape, path)
            case _:
                return self.section(tree, shape, path)

    def _scalar(self, tree: Tree, shape: Value, path: str) -> Any:
        if not isinstance(tree, Leaf) or not tree.text:
            return self._wrong(tree, path, shape.expected)
        try:
            return shape.parse(tree.text)
        except FlottaError as error:
            step = f"; {error.next_step}" if error.next_step else ""
            self._faults.add(tree.line, f"{path}: {error.sentence}{step}", error.code)
        except ValueError:
            seen = "something else" if shape.secret else quoted(tree.text)
            self._faults.add(tree.line, f"{path}: expected {shape.expected}, saw {seen}")
        return _FAULTY

    def _list(self, tree: Tree, shape: ListOf, path: str) -> Any:
        if isinstance(tree, Leaf) and tree.text is not None and tree.text == shape.word:
            return shape.word
        if not isinstance(tree, Items):
            return self._wrong(tree, path, _expected(shape))
        if not shape.least <= len(tree.items) <= shape.most:
            bounds = f"{shape.least} to {shape.most} entries"
            self._faults.add(tree.line, f"{path}: expected {bounds}, saw {len(tree.items)}")
            return _FAULTY
        values = []
        for index, item in enumerate(tree.items):
            inner = f"{path}[{index}]"
            self.lines[inner] = item.line
            values.append(self.value(item, shape.item, inner))
        return _FAULTY if any(value is _FAULTY for value in values) else shape.build(values)

    def _wrong(self, tree: Tree, path: str, expected: str) -> object:
        if not isinstance(tree, Broken):
            self._faults.add(tree.line, f"{path}: expected {expected}, saw {kind_of(tree)}")
        return _FAULTY

    def _unknown(self, line: int, name: str, keys: Iterable[str], path: str) -> None:
        where = f"under {path}" if path else "at the top level"
        sentence = f"unknown key {quoted(name)} {where}; {_help(name, keys)}"
        self._faults.add(line, sentence, Code.CONFIG_KEY_UNKNOWN)


def _help(name: str, keys: Iterable[str]) -> str:
    """The nearest key of this group, else the keys of this very name in other groups, else all of this group."""
    near = difflib.get_close_matches(name[:NAME_CHARS_MAX].lower(), keys, n=1, cutoff=0.6)
    found = near or [path for path, _ in all_keys(Document) if path.rpartition(".")[2] == name]
    return f"did you mean {_any_of(found)}?" if found else f"the keys here are {', '.join(keys)}"


def _any_of(names: list[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _is_empty(tree: Tree) -> bool:
    return isinstance(tree, Leaf) and not tree.text


def _expected(shape: Shape) -> str:
    match shape:
        case Value():
            return shape.expected
        case ListOf(item=item, word=word):
            other = f'"{word}" or ' if word else ""
            return f"{other}a list, each entry {_expected(item)}"
        case _:
            return f"the keys {', '.join(keys_of(shape))}"
