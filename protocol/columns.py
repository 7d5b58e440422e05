"""The columns of a source: what each is, which of them its holder opens, and for what."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

from protocol.limits import NAME_CHARS_MAX
from protocol.record import Record

Kind = Literal["number", "text", "boolean"]
ALL: Final = "all"


class Column(Record, frozen=True):
    """A column as members of the project see it. `groups`: the holder lets it group rows."""

    name: str
    type: Kind
    groups: bool = True


class ColumnRules(Record, frozen=True):
    """A holder's rules for the columns of one source; by default all are open for everything.

    What is not open is to others as if the table did not have it: no answer and no error may tell a hidden column from
    one that does not exist. `hidden` and `numeric_only` must name columns of the table: a misspelt or renamed one would
    open what was to stay closed.
    """

    columns: frozenset[str] | None = None  # None: every column that is not hidden
    hidden: frozenset[str] = frozenset()
    groupable: frozenset[str] | None = None  # None: every open column that is not for numbers alone
    numeric_only: Literal["all"] | frozenset[str] = frozenset()  # "all": all that `groupable` does not name

    def is_open(self, name: str) -> bool:
        return name not in self.hidden and (self.columns is None or name in self.columns)

    def is_numeric_only(self, name: str) -> bool:
        """Whether it is used as numbers or not at all."""
        if self.numeric_only == ALL:
            return name not in (self.groupable or ())
        return name in self.numeric_only

    def may_group(self, name: str) -> bool:
        return not self.is_numeric_only(name) and (self.groupable is None or name in self.groupable)

    def published(self, columns: Iterable[tuple[str, Kind]]) -> tuple[Column, ...]:
        """What others see of the columns of a table, given by name and type."""
        return tuple(
            Column(name=name, type=kind, groups=self.may_group(name))
            for name, kind in columns
            if self.is_open(name) and (kind == "number" or not self.is_numeric_only(name))
        )

    def missing_in(self, names: Iterable[str]) -> tuple[str, ...]:
        """The columns that a table with these columns lacks, and without which it must not be opened."""
        guarded = self.hidden | (frozenset() if self.numeric_only == ALL else self.numeric_only)
        return tuple(sorted(guarded.difference(names)))

    def contradictions(self) -> tuple[tuple[str, str], ...]:
        """(key of the policy, what is wrong with it) for each rule that no table can meet."""
        groupable = self.groupable or frozenset()
        numeric_only = frozenset() if self.numeric_only == ALL else self.numeric_only
        opened = self.columns
        found = [
            ("columns", self.hidden & (opened or frozenset()), "stands under hidden too"),
            ("groupable", groupable & self.hidden, "stands under hidden too"),
            ("numeric_only", numeric_only & self.hidden, "stands under hidden too"),
            ("numeric_only", numeric_only & groupable, "stands under groupable too, and numbers alone do not group"),
        ]
        if opened is not None:
            found += [
                ("groupable", groupable - opened - self.hidden, "does not stand under columns"),
                ("numeric_only", numeric_only - opened - self.hidden, "does not stand under columns"),
            ]
        return tuple((key, f'"{min(names)}" {sentence}') for key, names, sentence in found if names)


def is_nameable(name: str) -> bool:
    """Whether a query can name such a column."""
    return 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()


def schema_digest(names: Iterable[str]) -> bytes:
    """The same for the same columns in any order: by it a table is recognised. `names` are printable."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).digest()
