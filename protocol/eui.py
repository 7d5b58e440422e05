"""EUI: the address of anything under a flame node or a holder of a job, and its only parser and formatter.

    absolute   #/<first>/<node>/<output>      #/<first>/<node>/<room>/<name>      #/<first>/<node>/<room>
    relative   #<node>/<output>               and so on: within the same job

`first` is the text of a job id, `@last` (the latest finished job), `@lab` (always-on nodes) or `@host:<id>`.
Short aliases of jobs such as `j41` belong to the command line, which replaces them before it comes here.
Rooms with a name behind them are `out in params memory`; rooms without are `log status schema stats`.
`#node/x` is short for `#node/out/x`, so none of the eight words can name a node or an output. Every address
has one canonical text, and `EUI.parse(str(eui)) == eui`.

A name is made of ASCII letters, digits, `_`, `.` and `-`, and begins with a letter, a digit or `_`. What is
refused, and why:

- `/` and `\\` would open another folder, `..` and a leading `.` the folder above or a hidden file;
- a leading `-` would be read as an option by a command;
- a trailing `.` is dropped by some file systems, so that two names would meet in one file;
- `#`, `@` and `:` are signs of this grammar; `[`, `]`, `*` and `?` select and match in shells and in address
  selectors;
- quotes, `;`, `$`, `%`, `&` and `|` have a meaning in SQL, shells and web addresses;
- spaces and control characters vanish or move the cursor when shown; NUL parts store keys and ends names of
  files;
- letters outside ASCII have several encodings of one look: two names would look alike, or one name be stored
  twice.
"""

from __future__ import annotations

import re
from typing import Final

from protocol.errors import AddressError, Code
from protocol.ids import format_id, format_job_id, parse_id, parse_job_id
from protocol.limits import EUI_CHARS_MAX, NAME_CHARS_MAX
from protocol.record import Record

NAMED_ROOMS: Final = frozenset({"out", "in", "params", "memory"})
PLAIN_ROOMS: Final = frozenset({"log", "status", "schema", "stats"})
RESERVED: Final = NAMED_ROOMS | PLAIN_ROOMS
LAST: Final = "@last"
LAB: Final = "@lab"

_HOST: Final = "@host:"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_FORMS: Final = "#/<first>/<node>/<output>, #<node>/<output>, or with a room before the name: #<node>/params/<name>"


class EUI(Record, frozen=True):
    """One address. A value that exists is valid: wrong parts raise AddressError(ADDRESS_MALFORMED).

    `first` is empty for a relative address, `name` for a room without names.
    """

    node: str
    name: str = ""
    room: str = "out"
    first: str = ""

    def __post_init__(self) -> None:
        if self.first and _canonical_first(self.first) != self.first:
            raise _malformed(f"{self.first!r} is not the canonical text of a job or host")
        _check_name(self.node, "node", reserved=RESERVED)
        if self.room not in RESERVED:
            raise _malformed(f"a node has no room {self.room!r}, only {', '.join(sorted(RESERVED))}")
        if self.room in NAMED_ROOMS:
            _check_name(self.name, self.room, reserved=RESERVED if self.room == "out" else frozenset())
        elif self.name:
            raise _malformed(f"nothing stands below {self.room!r}, so {self.name!r} is too much")

    @classmethod
    def parse(cls, text: str) -> EUI:
        """Read an address, ids in either case. Raises AddressError(ADDRESS_MALFORMED | ID_MALFORMED)."""
        if len(text) > EUI_CHARS_MAX:
            raise _malformed(f"an address has at most {EUI_CHARS_MAX} characters, this one {len(text)}")
        if not text.startswith("#"):
            raise _malformed(f"an address begins with '#', not {text[:1]!r}")
        first = ""
        segments = text[1:].split("/")
        if segments[0] == "" and len(segments) > 1:
            first, segments = _canonical_first(segments[1]), segments[2:]
        match segments:
            case [node, room] if room in PLAIN_ROOMS:
                return cls(first=first, node=node, room=room)
            case [node, name]:
                return cls(first=first, node=node, name=name)
            case [node, room, name]:
                return cls(first=first, node=node, room=room, name=name)
            case _:
                raise _malformed(f"{text!r} does not name a node and one thing of it")

    def __str__(self) -> str:
        start = f"#/{self.first}/" if self.first else "#"
        return start + "/".join(self._below(short=True))

    def absolute(self, first: str) -> EUI:
        """This address seen from inside `first`; one that is absolute already stays as it is."""
        if self.first:
            return self
        return EUI(first=_canonical_first(first), node=self.node, room=self.room, name=self.name)

    def path(self) -> tuple[str, ...]:
        """Safe segments below any root, for files, HDF5 groups and streams. Two addresses never share a path.

        Raises AddressError for a relative address and for `@last`: neither names a place, resolve it first.
        """
        if self.first in ("", LAST):
            raise AddressError(
                Code.ADDRESS_MALFORMED,
                f"{str(self)!r} is the address of no place until its job is known",
                next_step="put the id of the job in front",
            )
        return (self.first.removeprefix("@").replace(":", "-"), *self._below(short=False))

    def store_key(self) -> bytes:
        """The path as one key below 512 bytes; all keys of one job stand together. Raises as `path`."""
        return "\0".join(self.path()).encode("ascii")

    def _below(self, *, short: bool) -> tuple[str, ...]:
        if self.room in PLAIN_ROOMS:
            return (self.node, self.room)
        if short and self.room == "out":
            return (self.node, self.name)
        return (self.node, self.room, self.name)


def _canonical_first(text: str) -> str:
    if text in (LAST, LAB):
        return text
    if text.startswith(_HOST):
        return _HOST + format_id(parse_id(text.removeprefix(_HOST)))
    try:
        return format_job_id(parse_job_id(text))
    except AddressError as error:
        raise _malformed(f"{text!r} cannot stand first: that is a job id, @last, @lab or @host:<id>") from error


def _check_name(text: str, place: str, *, reserved: frozenset[str]) -> None:
    if not text:
        raise _malformed(
            f"the name after {place!r} is missing" if place in RESERVED else f"the {place}'s name is missing"
        )
    if len(text) > NAME_CHARS_MAX:
        raise _malformed(f"a name has at most {NAME_CHARS_MAX} characters, {text[:16]!r}… has {len(text)}")
    if not _NAME.fullmatch(text) or ".." in text or text.endswith("."):
        raise _malformed(
            f"{text!r} cannot be a name: letters, digits, '_', '.' and '-', no '..', no '.' or '-' in front"
        )
    if text in reserved:
        raise _malformed(f"{text!r} is a reserved word and cannot name a node or an output")


def _malformed(sentence: str) -> AddressError:
    return AddressError(Code.ADDRESS_MALFORMED, sentence, next_step=f"write {_FORMS}")
