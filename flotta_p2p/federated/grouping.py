"""What one source lets out of its groups. Imports Polars: for child processes.

A group holds the rows that have the same values in all columns that group; a missing value is a value of its own.
Texts are the same when they have the same characters: neither case nor the normal forms of Unicode are made alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from flotta_p2p.federated.disclosure import (
    cohort_refusal,
    column_allowed_in_groups,
    group_rows_min,
    shown_groups,
)
from flotta_p2p.federated.group_merging import key_order
from flotta_p2p.federated.measuring import measure_values, require_numbers
from flotta_p2p.federated.selection import select_rows
from flotta_p2p.federated.tables import read_query
from protocol.limits import GROUP_KEY_CHARS_MAX, GROUP_VALUES_MAX, GROUPS_MAX
from protocol.plan.artifact import Query
from protocol.plan.tasks import ColumnMeasure, DisclosureRules, Group, GroupMeasure, GroupSettings, SourceFile

_ROWS: Final = "rows"


def measure_source(query: Query, source: SourceFile, settings: GroupSettings) -> GroupMeasure:
    """The groups of one source. Raises DataError as the measure of a summary does."""
    table, frame = read_query(query, source)
    require_numbers(table, frame, settings.each)
    return measure_rows(select_rows(frame, query.where), settings, source.rules)


def measure_rows(selected: pl.DataFrame, settings: GroupSettings, rules: DisclosureRules) -> GroupMeasure:
    """The groups of the selected rows. Raises DataError(VALUE_OUT_OF_RANGE), of what may leave alone."""
    refusal = cohort_refusal(selected.height, rules) or _too_many(selected, settings.by)
    if refusal:
        return _withheld(refusal)
    grouped = _grouped(selected, settings)
    shown = pl.Series(shown_groups(grouped[_ROWS].to_list(), rules), dtype=pl.Boolean)
    seen, hidden = grouped.filter(shown), grouped.filter(~shown)
    if seen.is_empty():
        return _withheld(f"every group has fewer than {group_rows_min(rules)} rows, or would give away one that has")
    refusal = _too_long(seen, settings.by)
    if refusal:
        return _withheld(refusal)
    columns = [
        (at, name)
        for at, name in enumerate(settings.each.columns)
        if column_allowed_in_groups(_splits(seen, hidden, _value(at)), rules)
    ]
    groups = [
        Group(
            key=tuple(seen[_key(at)][index] for at in range(len(settings.by))),
            rows=seen[_ROWS][index],
            columns={name: _measure(seen[_value(at)][index], name, settings, rules) for at, name in columns},
        )
        for index in range(seen.height)
    ]
    allowed = {name for _, name in columns}
    return GroupMeasure(
        groups=tuple(sorted(groups, key=lambda group: key_order(group.key))),
        groups_withheld=hidden.height,
        columns_withheld=tuple(name for name in settings.each.columns if name not in allowed),
    )


def _grouped(selected: pl.DataFrame, settings: GroupSettings) -> pl.DataFrame:
    """One row for each group: its key, its number of rows, and the values of each measured column as a list.

    Columns get names of ours, since those of the table may be any.
    """
    keys = [pl.col(name).alias(_key(at)) for at, name in enumerate(settings.by)]
    values = [pl.col(name).alias(_value(at)) for at, name in enumerate(settings.each.columns)]
    return selected.lazy().group_by(keys).agg(pl.len().alias(_ROWS), *values).collect()


def _measure(values: pl.Series, name: str, settings: GroupSettings, rules: DisclosureRules) -> ColumnMeasure:
    return measure_values(values.alias(name), settings.each, rules)


def _key(at: int) -> str:
    return f"key {at}"


def _value(at: int) -> str:
    return f"value {at}"


def _splits(seen: pl.DataFrame, hidden: pl.DataFrame, column: str) -> list[tuple[int, int]]:
    """Present and missing values of a column in each group that is seen, and in the hidden ones together."""
    present = pl.col(column).list.drop_nulls().list.len().cast(pl.Int64)
    split = (present.alias("present"), (pl.col(_ROWS).cast(pl.Int64) - present).alias("missing"))
    return [*seen.select(split).rows(), hidden.select(split).sum().row(0)]


def _too_many(selected: pl.DataFrame, by: Sequence[str]) -> str:
    """Why these columns cannot group: their values are too many. Empty when they can."""
    for name in by:
        if selected[name].n_unique() > GROUP_VALUES_MAX:
            return f'the column "{name}" has more than {GROUP_VALUES_MAX} different values and cannot group'
    if selected.lazy().select(pl.struct(by).n_unique()).collect().item() > GROUPS_MAX:
        return f"the columns that group make more than {GROUPS_MAX} groups"
    return ""


def _too_long(seen: pl.DataFrame, by: Sequence[str]) -> str:
    """As `_too_many`, of the length of texts. Hidden groups do not count: nobody shall learn of their values."""
    for at, name in enumerate(by):
        texts = seen[_key(at)]
        if texts.dtype == pl.String and (texts.str.len_chars() > GROUP_KEY_CHARS_MAX).any():
            return f'the column "{name}" has values longer than {GROUP_KEY_CHARS_MAX} characters and cannot group'
    return ""


def _withheld(reason: str) -> GroupMeasure:
    return GroupMeasure(groups=(), groups_withheld=0, columns_withheld=(), withheld=reason)
