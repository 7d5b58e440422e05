"""What one source lets out for a summary. Imports Polars: for child processes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from flotta_p2p.federated import exact
from flotta_p2p.federated.disclosure import cohort_refusal, column_allowed, suppress
from flotta_p2p.federated.selection import select_rows
from flotta_p2p.federated.table_file import TableFile
from flotta_p2p.federated.tables import inspect_table, read_query
from protocol.errors import Code, DataError
from protocol.plan.artifact import Query
from protocol.plan.tasks import Cells, ColumnMeasure, DisclosureRules, Measure, Settings, SourceFile


def measure_source(query: Query, source: SourceFile, settings: Settings) -> Measure:
    """The measure of one source. Raises DataError.

    Faults of columns and types speak of the whole table. Faults of values are raised only for what is large
    enough to leave, so that a fault says nothing about a selection of few rows.
    """
    table, frame = read_query(query, source)
    require_numbers(table, frame, settings)
    selected = select_rows(frame, query.where)
    refusal = cohort_refusal(selected.height, source.rules)
    if refusal:
        return Measure(rows=None, columns={}, withheld=refusal)
    columns = {name: _measure_column(selected[name], settings, source.rules) for name in settings.columns}
    return Measure(rows=selected.height, columns=columns)


def require_numbers(table: TableFile, frame: pl.DataFrame, settings: Settings) -> None:
    """Raises DataError(COLUMN_NOT_NUMERIC) naming the first column whose statistics need numbers that it lacks."""
    asked = settings.columns if {"mean", "variance"} & set(settings.statistics) else tuple(settings.edges)
    for name in asked:
        if frame.schema[name] != pl.Float64:
            numeric = [column.name for column in inspect_table(table).columns if column.type == "number"]
            what = f'has other values than numbers in the column "{name}": it has no mean, variance or histogram'
            step = f"numeric columns are {', '.join(numeric)}" if numeric else "this table opens no numeric column"
            raise table.fault(Code.COLUMN_NOT_NUMERIC, what, f"{step}; the other columns can be counted")


def _measure_column(values: pl.Series, settings: Settings, rules: DisclosureRules) -> ColumnMeasure | None:
    return measure_values(values, settings, rules) if column_allowed(values.count(), rules) else None


def measure_values(values: pl.Series, settings: Settings, rules: DisclosureRules) -> ColumnMeasure:
    """The measure of a column, named as in the settings, that may leave. Raises DataError(VALUE_OUT_OF_RANGE)."""
    present = values.drop_nulls()
    wants_squares = "variance" in settings.statistics
    wants_total = wants_squares or "mean" in settings.statistics
    if wants_total:
        _check_magnitudes(present, squared=wants_squares)
    edges = settings.edges.get(values.name)
    return ColumnMeasure(
        present=len(present),
        missing=len(values) - len(present),
        total=exact.sum_of(present) if wants_total else None,
        squares=exact.squares_of(present) if wants_squares else None,
        cells=None if edges is None else _cells(present, edges, rules),
    )


def _check_magnitudes(values: pl.Series, *, squared: bool) -> None:
    sizes = values.abs()
    if (sizes > exact.MAGNITUDE_MAX).any():
        raise _out_of_range(values.name, f"beyond ±{exact.MAGNITUDE_MAX:g}", "a sum")
    if squared and ((sizes > 0.0) & (sizes < exact.MAGNITUDE_MIN)).any():
        raise _out_of_range(values.name, f"nearer to zero than {exact.MAGNITUDE_MIN:g}", "a variance")


def _out_of_range(column: str, where: str, what: str) -> DataError:
    sentence = f'the column "{column}" has values {where}: {what} of them cannot be exact'
    step = "the holder rescales the column, or the query leaves such values out by a filter"
    return DataError(Code.VALUE_OUT_OF_RANGE, sentence, next_step=step)


def _cells(values: pl.Series, edges: Sequence[float], rules: DisclosureRules) -> Cells:
    """A value equal to an inner edge belongs to the upper bin; the last bin includes its upper end."""
    # How many edges are at most the value: 0 below all bins, i in the i-th bin, all at or above the end.
    edges_passed = pl.Series(edges, dtype=pl.Float64).search_sorted(values, side="right")
    numbers, heights = edges_passed.value_counts().get_columns()
    counted = dict(zip(numbers.to_list(), heights.to_list(), strict=True))
    counts = [counted.get(number, 0) for number in range(len(edges) + 1)]
    at_end = int((values == edges[-1]).sum())
    counts[-1] -= at_end
    counts[-2] += at_end
    below, *bins, above = suppress(counts, rules.minimum_cell)
    return Cells(counts=tuple(bins), below=below, above=above)
