"""A table as its holder sees it: every column, what it holds, and what speaks against it. Never a cell.

Imports Polars: for child processes.
"""

from __future__ import annotations

import polars as pl

from flotta_p2p.federated.table_file import TableFile, open_table
from flotta_p2p.federated.tables import collect, inspect_table, is_missing, number, strings
from protocol.plan.tasks import ColumnReport, SourceFile, TableReport


def check_table(source: SourceFile) -> TableReport:
    """Reads the whole table, whatever the rules of the source. Raises DataError as `open_table` and `count_rows` do."""
    return _report(open_table(SourceFile(name=source.name, path=source.path, type=source.type)))


def _report(table: TableFile) -> TableReport:
    found = inspect_table(table)
    names = [column.name for column in found.columns]
    counts = [one for at, name in enumerate(names) for one in _counts(at, name)]
    seen = collect(table, strings(table, names).select(counts)).row(0, named=True) if names else {}
    others = {at: seen[f"others {at}"] for at, column in enumerate(found.columns) if column.type == "text"}
    lines = table.lines_of(frozenset(seen[f"first {at}"] for at in others))
    return TableReport(
        rows=found.rows,
        columns=tuple(
            ColumnReport(
                name=column.name,
                type=column.type,
                missing=seen[f"missing {at}"],
                others=others.get(at, 0),
                others_line=lines[seen[f"first {at}"]] if at in others else 0,
            )
            for at, column in enumerate(found.columns)
        ),
        unnameable=table.width - len(names),
    )


def _counts(at: int, name: str) -> tuple[pl.Expr, ...]:
    """Missing values, present ones that are no numbers, and the first row with such a one."""
    is_other = number(name).is_nan().fill_null(value=False)
    return (
        is_missing(name).sum().alias(f"missing {at}"),
        is_other.sum().alias(f"others {at}"),
        is_other.arg_max().alias(f"first {at}"),
    )
