"""The one reader of YAML: text to a plain tree in which every part knows its line.

The tree is built from the parser's events: nothing is constructed that was not checked, and nothing
recurses. Scalars stay text. A reader with a schema says which are numbers or booleans, so that `no` is text where text
is wanted and a token made of digits keeps its zeros; one without takes `plain_value`. There are no dates and no
sexagesimal numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.reader import ReaderError

from flotta_p2p.faults import Faults, quoted
from protocol.errors import Code
from protocol.limits import CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, CONFIG_VALUE_CHARS_MAX

# libyaml, where PyYAML was built with it, is ten times faster than its parser in Python.
_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "false": False}
_WHOLE: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})(\.[0-9]{0,18})?([eE][-+]?[0-9]{1,3})?", re.ASCII)

_BARE_VARIABLE: Final = re.compile(r"[\[{,:]\s*\$\{")
_QUOTE_VARIABLES: Final = 'between brackets or braces a ${NAME} stands in quotes: ["${NAME}"]'
_TOO_DEEP: Final = f"lists and keys are nested deeper than {CONFIG_DEPTH_MAX} levels"


@dataclass(slots=True)
class Leaf:
    """A scalar; `text` is None for a plain null or an empty value. `quoted`: it is text, whatever it looks like."""

    line: int
    text: str | None
    quoted: bool = False


@dataclass(slots=True)
class Items:
    line: int
    items: list[Tree] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """The value of a key and the line of that key."""

    line: int
    value: Tree


@dataclass(slots=True)
class Keys:
    line: int
    entries: dict[str, Entry] = field(default_factory=dict)


@dataclass(slots=True)
class Broken:
    """A part whose fault has been reported already."""

    line: int


Tree = Leaf | Items | Keys | Broken


def load(data: bytes, faults: Faults, *, value_chars_max: int = CONFIG_VALUE_CHARS_MAX) -> Tree:
    """The tree of one YAML document in UTF-8; empty text is an empty map.

    Limits: CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX, `value_chars_max`. Duplicate keys, tags, anchors and
    aliases are added to `faults`; what cannot be read further raises ConfigError.
    """
    if len(data) > CONFIG_BYTES_MAX:
        faults.stop(1, f"the file is larger than {CONFIG_BYTES_MAX // 1024} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.stop(line, f"the text is not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8")
    try:
        return _Builder(faults, value_chars_max).build(text)
    except yaml.MarkedYAMLError as error:
        faults.stop(*_syntax_fault(error, text))
    except ReaderError as error:
        line = text.encode().count(b"\n", 0, error.position) + 1
        number = int(error.character)  # libyaml gives the code point
        faults.stop(line, f"the control character U+{number:04X} is not allowed; remove it")


def plain_value(tree: Tree) -> Any:
    """The tree as Python values, for readers without a schema: a scalar without quotes that looks like a JSON number,
    `true`, `false` or null is one, everything else is text. `tree` is free of faults.
    """
    match tree:
        case Keys(entries=entries):
            return {name: plain_value(entry.value) for name, entry in entries.items()}
        case Items(items=items):
            return [plain_value(item) for item in items]
        case Leaf(text=str(text), quoted=False):
            return _scalar(text)
        case Leaf(text=text):
            return text
        case Broken():
            raise ValueError("a tree with faults has no value")


def _scalar(text: str) -> str | bool | int | float:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def kind_of(tree: Tree) -> str:
    """What a person calls this part; never its content, which may be a secret."""
    match tree:
        case Leaf():
            return "nothing" if not tree.text else "a single value"
        case Items():
            return "a list"
        case Keys():
            return "a group of keys"
        case Broken():
            return "a faulty value"


class _Builder:
    """Puts the events of the parser together; the innermost open list or map stands last in `_open`."""

    def __init__(self, faults: Faults, value_chars_max: int) -> None:
        self._faults = faults
        self._value_chars_max = value_chars_max
        self._root: Tree | None = None
        self._open: list[Items | Keys] = []
        self._keys: list[Leaf | None] = []  # beside _open: the key that waits for its value

    def build(self, text: str) -> Tree:
        for event in yaml.parse(text, Loader=_PARSER):
            match event:
                case yaml.DocumentStartEvent() if self._root is not None:
                    line = _line(event)
                    self._faults.stop(line, 'a second document begins; expected one: remove the line "---"')
                case yaml.NodeEvent():
                    self._add(event)
                case yaml.CollectionEndEvent():
                    self._open.pop()
                    self._keys.pop()
                case _:
                    pass  # beginning and end of stream and document
        if self._root is None or (isinstance(self._root, Leaf) and not self._root.text):
            return Keys(1)
        return self._root

    def _add(self, event: yaml.NodeEvent) -> None:
        tree = self._tree(event)
        self._place(tree)
        if isinstance(tree, Items | Keys):
            if len(self._open) >= CONFIG_DEPTH_MAX:
                self._faults.stop(tree.line, _TOO_DEEP)
            self._open.append(tree)
            self._keys.append(None)

    def _tree(self, event: yaml.NodeEvent) -> Tree:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            return self._broken(line, f"the alias *{event.anchor} is not allowed; write the value itself")
        if event.anchor is not None:
            self._faults.add(line, f"the anchor &{event.anchor} is not allowed; remove it", Code.CONFIG_MALFORMED)
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._faults.add(line, f"the tag {quoted(tag)} is not allowed; remove it", Code.CONFIG_MALFORMED)
        if isinstance(event, yaml.SequenceStartEvent):
            return Items(line)
        if isinstance(event, yaml.MappingStartEvent):
            return Keys(line)
        return self._leaf(event, line)

    def _leaf(self, event: yaml.NodeEvent, line: int) -> Leaf | Broken:
        assert isinstance(event, yaml.ScalarEvent)
        if len(event.value) > self._value_chars_max:
            return self._broken(line, f"a value is longer than {self._value_chars_max} characters")
        quoted = bool(event.style)
        return Leaf(line, None if not quoted and event.value in _NULLS else event.value, quoted)

    def _broken(self, line: int, sentence: str) -> Broken:
        self._faults.add(line, sentence, Code.CONFIG_MALFORMED)
        return Broken(line)

    def _place(self, tree: Tree) -> None:
        if not self._open:
            self._root = tree
            return
        around, key = self._open[-1], self._keys[-1]
        if isinstance(around, Items):
            around.items.append(tree)
        elif key is None:
            self._keys[-1] = self._key(tree)
        else:
            self._keys[-1] = None
            self._enter(around, key, tree)

    def _key(self, tree: Tree) -> Leaf:
        if isinstance(tree, Leaf) and tree.text:
            return tree
        if not isinstance(tree, Broken):
            self._broken(tree.line, f"expected the name of a key, saw {kind_of(tree)}")
        return Leaf(tree.line, None)

    def _enter(self, around: Keys, key: Leaf, tree: Tree) -> None:
        if key.text is None:
            return
        earlier = around.entries.setdefault(key.text, Entry(key.line, tree))
        if earlier.value is not tree:
            self._broken(
                key.line,
                f"the key {quoted(key.text)} stands already on line {earlier.line}; keep one of the two",
            )


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None  # libyaml marks every event
    return event.start_mark.line + 1


def _syntax_fault(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    if "nesting depth" in (error.problem or ""):  # libyaml's own limit, which is far beyond ours
        return (error.problem_mark.line + 1 if error.problem_mark else 1), _TOO_DEEP
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return 1, f"this is not YAML: {error.problem}"
    lines = text.splitlines()
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    if rest.startswith("\t"):
        return mark.line + 1, "a tab stands where spaces are expected; indent with spaces"
    began = error.context_mark
    if began is not None and any(_BARE_VARIABLE.search(line) for line in lines[began.line : mark.line + 1]):
        return mark.line + 1, _QUOTE_VARIABLES
    since = f" ({error.context} that begins on line {began.line + 1})" if began is not None else ""
    return mark.line + 1, f"this is not YAML: {error.problem}{since}"
