"""Read the columns of a source as numbers, booleans and text. Imports Polars: for child processes.

A column is a *number* column when every present value reads as a finite decimal number, else *boolean* when
every one is true or false in any case of letters, else *text*; the whole file decides, never a sample.
Surrounding blanks are no part of a value. A value is missing when its field is empty or says NA, N/A, NaN or
null, in any case of letters, quoted or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl

from flotta_p2p.federated.table_file import TableFile, open_table
from protocol.columns import Kind, schema_digest
from protocol.errors import Code, DataError
from protocol.plan.artifact import Query
from protocol.plan.filters import columns_of
from protocol.plan.tasks import Inspection, SourceFile

MISSING_WORDS: Final = ("", "na", "n/a", "nan", "null")
BOOLEAN_WORDS: Final = ("false", "true")
_BATCH_ROWS: Final = 65_536
_NAMES_SHOWN_MAX: Final = 20


def inspect(source: SourceFile) -> Inspection:
    """What others see of a source. Raises DataError as `open_table` does."""
    return inspect_table(open_table(source))


def inspect_table(table: TableFile) -> Inspection:
    """As `inspect`, the columns in the order of the file. A fault may name these and no others."""
    names = list(table.columns)
    verdicts = [pl.len().alias("rows")]
    for index, name in enumerate(names):
        verdicts.append(number(name).is_nan().any().alias(f"other {index}"))
        verdicts.append(_is_boolean(name).all().alias(f"boolean {index}"))
    found = collect(table, strings(table, names).select(verdicts)).row(0, named=True) if names else {}
    kinds = [(name, _type_of(found[f"other {at}"], found[f"boolean {at}"])) for at, name in enumerate(names)]
    return Inspection(
        columns=table.source.rules.columns.published(kinds),
        rows=found["rows"] if names else table.count_rows(),
        schema=schema_digest(names),
    )


def _type_of(has_other_than_numbers: bool, is_boolean: bool) -> Kind:
    if not has_other_than_numbers:
        return "number"
    return "boolean" if is_boolean else "text"


def read_query(query: Query, source: SourceFile) -> tuple[TableFile, pl.DataFrame]:
    """The table, and all rows of the columns that a query reads.

    Raises DataError as `open_table` and `read_columns` do.
    """
    table = open_table(source)
    return table, read_columns(table, tuple(dict.fromkeys((*query.columns, *columns_of(query.where)))))


def read_columns(table: TableFile, names: Sequence[str]) -> pl.DataFrame:
    """The named columns as Float64, Boolean or String; missing values are null.

    Raises DataError: COLUMN_UNKNOWN for what the holder does not publish, there or not; SOURCE_RAGGED, SOURCE_CHANGED,
    SOURCE_UNREADABLE.
    """
    if any(name not in table.columns for name in names):
        raise _unknown(table, names)
    cells = strings(table, names)
    frame = collect(table, cells.select(number(name) for name in names))
    others = [name for name in names if frame[name].is_nan().any()]
    if any(table.source.rules.columns.is_numeric_only(name) for name in others):
        raise _unknown(table, names)
    if others:
        texts = collect(table, cells.select(_text(name) for name in others))
        frame = frame.with_columns(_as_boolean(texts[name]) for name in others)
    return frame


def _unknown(table: TableFile, names: Sequence[str]) -> DataError:
    """Speaks of the first of these names that is not published, and tells the nearest ones that are."""
    published = [column.name for column in inspect_table(table).columns]
    name = next((one for one in names if one not in published), names[0])
    folded = {one.casefold(): one for one in published}
    near = [folded[found] for found in get_close_matches(name.casefold(), folded, n=3)]
    shown = ", ".join(list(folded.values())[:_NAMES_SHOWN_MAX]) or "not open"
    more = ", …" if len(folded) > _NAMES_SHOWN_MAX else ""
    step = f"did you mean {' or '.join(near)}?" if near else f"its columns are {shown}{more}"
    return table.fault(Code.COLUMN_UNKNOWN, f'has no column "{name[:64]}"', step)


def _as_boolean(texts: pl.Series) -> pl.Series:
    words = texts.str.to_lowercase()
    return words == "true" if words.drop_nulls().is_in(BOOLEAN_WORDS).all() else texts


def _stripped(name: str) -> pl.Expr:
    return pl.col(name).fill_null("").str.strip_chars()


def is_missing(name: str) -> pl.Expr:
    return _stripped(name).str.to_lowercase().is_in(MISSING_WORDS)


def _is_boolean(name: str) -> pl.Expr:
    return _stripped(name).str.to_lowercase().is_in(BOOLEAN_WORDS + MISSING_WORDS)


def _text(name: str) -> pl.Expr:
    return pl.when(~is_missing(name)).then(_stripped(name)).alias(name)


def number(name: str) -> pl.Expr:
    """Null where the value is missing, NaN where it is present and no finite number; no negative zero.

    Adding 0.0 would not do: Polars takes x + 0.0 for x.
    """
    value = _stripped(name).cast(pl.Float64, strict=False)
    finite = pl.when(value == 0.0).then(0.0).when(value.is_finite()).then(value).otherwise(float("nan"))
    return pl.when(~is_missing(name)).then(finite).alias(name)


def strings(table: TableFile, names: Sequence[str]) -> pl.LazyFrame:
    indexes = {name: table.columns[name] for name in names}
    if not table.plain:
        return _quoted_strings(table, indexes).lazy()
    # Columns get names of ours, since those of the header may be empty. Polars fills short rows in silence:
    # the rows are checked before.
    columns = {f"c{index}": pl.String for index in range(table.width)}
    scan = pl.scan_csv(
        Path(table.source.path),
        separator=table.separator,
        schema=columns,
        has_header=False,
        skip_lines=1,
        n_rows=table.count_plain_rows(),
        quote_char=None,
        glob=False,
    )
    return scan.select(pl.col(f"c{index}").alias(name) for name, index in indexes.items())


def _quoted_strings(table: TableFile, indexes: dict[str, int]) -> pl.DataFrame:
    rows = table.quoted_rows()
    schema = dict.fromkeys(indexes, pl.String)
    frames = [pl.DataFrame(schema=schema)]
    while batch := list(islice(rows, _BATCH_ROWS)):
        frames.append(
            pl.DataFrame({name: [row[at] for _, row in batch] for name, at in indexes.items()}, schema=schema)
        )
    return pl.concat(frames)


def collect(table: TableFile, query: pl.LazyFrame) -> pl.DataFrame:
    try:
        frame = query.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        table.check_unchanged()
        what = "could not be read by the table reader"
        raise table.fault(
            Code.SOURCE_UNREADABLE, what, "the holder checks that the file is a plain CSV or TSV table"
        ) from error
    table.check_unchanged()
    return frame
