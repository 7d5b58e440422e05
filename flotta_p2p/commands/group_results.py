"""The result of a question by group, in tables and plain values. Numbers stand exactly as they were computed."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from keyword import iskeyword
from typing import Any, Final

import msgspec

from flotta_p2p.commands.output import clean, table
from flotta_p2p.commands.results import SUCCEEDED, all_withheld, holder_name, more_of, number, sd_of, without_zeros
from protocol.ids import format_job_id
from protocol.plan.tasks import GroupedSummary, GroupsOfSource, GroupSummary, Key

_MISSING: Final = "(missing)"


def group_values(job_id: bytes, result: GroupedSummary, names: dict[str, str]) -> dict[str, Any]:
    """The result for --json: each key is a map of column and value, null for missing; a number is null where it is
    withheld.
    """
    values = msgspec.to_builtins(result)
    for plain, group in zip(values["groups"], result.groups, strict=True):
        plain["key"] = dict(zip(result.by, group.key, strict=True))
        for name, column in group.columns.items():
            plain["columns"][name] |= more_of(column)
    for one in values["coverage"]["by_source"]:
        one["name"] = names.get(one["source"], "")
        one.update(dict.fromkeys(("rows", "groups", "groups_withheld")) if one["withheld"] else {})
    return {"job": format_job_id(job_id), "state": SUCCEEDED, **without_zeros(values)}


def group_lines(result: GroupedSummary, names: dict[str, str]) -> Iterator[str]:
    """A table of the groups for each column, who took part, and what was withheld and why."""
    coverage = result.coverage
    if coverage.sources_counted:
        groups = f"{len(result.groups)} group{'s' if len(result.groups) > 1 else ''}"
        yield f"{coverage.rows} rows in {groups}, of {coverage.sources_counted} of {coverage.sources} sources"
    else:
        yield f"No groups: {all_withheld(coverage.sources)}"
    keys = _shown_keys(result)
    if result.groups:
        columns = list(result.groups[0].columns)
        for name in columns:
            yield ""
            yield f"{name} by {', '.join(result.by)}"
            yield from (f"  {line}" for line in _column_table(result, keys, name))
        if not columns:
            yield ""
            yield from _rows_table(result, keys)
    yield ""
    rows = [_coverage_row(one, names) for one in coverage.by_source]
    yield from table(("source", "rows", "groups", "groups withheld"), rows, right=frozenset({1, 2, 3}))
    yield ""
    yield from _withheld_lines(result, names)


def _rows_table(result: GroupedSummary, keys: list[tuple[str, ...]]) -> list[str]:
    rows = [(*key, str(group.rows), str(group.sources)) for key, group in zip(keys, result.groups, strict=True)]
    return _keyed_table(result, ("rows", "sources"), rows)


def _column_table(result: GroupedSummary, keys: list[tuple[str, ...]], name: str) -> list[str]:
    statistics = {
        "mean": [group.columns[name].mean for group in result.groups],
        "variance": [group.columns[name].variance for group in result.groups],
        "sd": [sd_of(group.columns[name]) for group in result.groups],
    }
    asked = {header: values for header, values in statistics.items() if any(value is not None for value in values)}
    rows = [
        (*key, *_counts(group, name), *(number(values[at], group.columns[name]) for values in asked.values()))
        for at, (key, group) in enumerate(zip(keys, result.groups, strict=True))
    ]
    return _keyed_table(result, ("rows", "sources", "present", "missing", *asked), rows)


def _keyed_table(result: GroupedSummary, headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Keys that are numbers stand to the right, as all numbers do."""
    last = len(result.by)
    numeric = {at for at in range(last) if any(isinstance(group.key[at], float) for group in result.groups)}
    right = frozenset({*numeric, *range(last, last + len(headers))})
    return table((*result.by, *headers), rows, right=right)


def _counts(group: GroupSummary, name: str) -> tuple[str, str, str, str]:
    """Rows of all sources that show the group; those of them that show the column, and its counts there."""
    column = group.columns[name]
    counts = (str(column.present), str(column.missing)) if column.sources else ("withheld", "withheld")
    return str(group.rows), f"{column.sources} of {group.sources}", *counts


def _shown_keys(result: GroupedSummary) -> list[tuple[str, ...]]:
    """Keys in words. Those that would look alike though they differ are escaped."""
    shown = [tuple(map(_in_words, group.key)) for group in result.groups]
    alike = Counter(map(_looks, set(shown)))
    return [tuple(map(ascii, key)) if alike[_looks(key)] > 1 else key for key in shown]


def _looks(key: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFKC", clean(text)) for text in key)


def _in_words(value: Key) -> str:
    match value:
        case None:
            return _MISSING
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
        case str():
            return repr(value) if value == _MISSING else value


def _coverage_row(one: GroupsOfSource, names: dict[str, str]) -> tuple[str, str, str, str]:
    name = holder_name(one.source, names)
    if one.withheld:
        return name, "withheld", "withheld", "all"
    return name, str(one.rows), str(one.groups), str(one.groups_withheld)


def _withheld_lines(result: GroupedSummary, names: dict[str, str]) -> Iterator[str]:
    """Each reason once, with the sources that have it, and what to do about it."""
    sources: dict[str, list[str]] = {}
    columns: set[str] = set()
    for one in result.coverage.by_source:
        name = holder_name(one.source, names)
        if one.withheld:
            sources.setdefault(f"everything: {one.withheld}", []).append(name)
            continue
        if one.columns_withheld:
            columns.update(one.columns_withheld)
            why = "since one has too few present or too few missing values"
            what = f"{', '.join(one.columns_withheld)} in all groups, {why}"
            sources.setdefault(what, []).append(name)
        if one.groups_withheld:
            what = "small groups and those that would give them away; their rows are in no number above"
            sources.setdefault(what, []).append(f"{name} ({one.groups_withheld})")
    if not sources:
        yield "Nothing was withheld."
        return
    yield "Withheld"
    yield from (f"  by {', '.join(who)}: {what}" for what, who in sources.items())
    if columns:
        empty = " or ".join(f"{_in_filter(column)} is None" for column in sorted(columns))
        yield f'Next: leave out the rows without a value, with --where "not ({empty})"'


def _in_filter(column: str) -> str:
    """A column as a filter names it."""
    return column if column.isidentifier() and not iskeyword(column) else f"col({column!r})"
