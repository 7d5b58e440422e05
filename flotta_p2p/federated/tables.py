"""Read the columns of a source as numbers, booleans and text. Imports Polars: for child processes.

A column is a *number* column when every present value reads as a finite decimal number, else *boolean* when
every one is true or false in any case of letters, else *text*; the whole file decides, never a sample.
Surrounding blanks are no part of a value. A value is missing when its field is empty or says NA, N/A, NaN or
null, in any case of letters, quoted or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import polars as pl

from flotta_p2p.federated.table_file import TableFile, open_table
from protocol.errors import Code
from protocol.limits import NAME_CHARS_MAX
from protocol.plan.tasks import Column, SourceFile

MISSING_WORDS: Final = ("", "na", "n/a", "nan", "null")
BOOLEAN_WORDS: Final = ("false", "true")
_BATCH_ROWS: Final = 65_536


def inspect(source: SourceFile) -> tuple[Column, ...]:
    """The columns of a source that a query can name, in the order of the file.

    Raises DataError as `open_table` does.
    """
    table = open_table(source)
    names = [name for name in table.header if 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()]
    if not names:
        return ()
    verdicts = []
    for index, name in enumerate(names):
        verdicts.append(_number(name).is_nan().any().alias(f"other {index}"))
        verdicts.append(_is_boolean(name).all().alias(f"boolean {index}"))
    found = _collect(table, _strings(table, names).select(verdicts)).row(0, named=True)
    return tuple(
        Column(name=name, type=_type_of(found[f"other {index}"], found[f"boolean {index}"]))
        for index, name in enumerate(names)
    )


def _type_of(has_other_than_numbers: bool, is_boolean: bool) -> Literal["number", "text", "boolean"]:
    if not has_other_than_numbers:
        return "number"
    return "boolean" if is_boolean else "text"


def read_columns(table: TableFile, names: Sequence[str]) -> pl.DataFrame:
    """The named columns as Float64, Boolean or String; missing values are null.

    Raises DataError: COLUMN_UNKNOWN, SOURCE_RAGGED, SOURCE_CHANGED, SOURCE_UNREADABLE.
    """
    strings = _strings(table, names)
    frame = _collect(table, strings.select(_number(name) for name in names))
    others = [name for name in names if frame[name].is_nan().any()]
    if others:
        texts = _collect(table, strings.select(_text(name) for name in others))
        frame = frame.with_columns(_as_boolean(texts[name]) for name in others)
    return frame


def _as_boolean(texts: pl.Series) -> pl.Series:
    words = texts.str.to_lowercase()
    return words == "true" if words.drop_nulls().is_in(BOOLEAN_WORDS).all() else texts


def _stripped(name: str) -> pl.Expr:
    return pl.col(name).fill_null("").str.strip_chars()


def _is_missing(name: str) -> pl.Expr:
    return _stripped(name).str.to_lowercase().is_in(MISSING_WORDS)


def _is_boolean(name: str) -> pl.Expr:
    return _stripped(name).str.to_lowercase().is_in(BOOLEAN_WORDS + MISSING_WORDS)


def _text(name: str) -> pl.Expr:
    return pl.when(~_is_missing(name)).then(_stripped(name)).alias(name)


def _number(name: str) -> pl.Expr:
    """Null where the value is missing, NaN where it is present and no finite number; no negative zero."""
    value = _stripped(name).cast(pl.Float64, strict=False)
    finite = pl.when(value.is_finite()).then(value + 0.0).otherwise(float("nan"))
    return pl.when(~_is_missing(name)).then(finite).alias(name)


def _strings(table: TableFile, names: Sequence[str]) -> pl.LazyFrame:
    indexes = {name: table.index_of(name) for name in names}
    if not table.plain:
        return _quoted_strings(table, indexes).lazy()
    # Columns get names of ours, since those of the header may be empty. Polars fills short rows in silence:
    # the rows are checked before.
    columns = {f"c{index}": pl.String for index in range(len(table.header))}
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
        frames.append(pl.DataFrame({name: [row[at] for row in batch] for name, at in indexes.items()}, schema=schema))
    return pl.concat(frames)


def _collect(table: TableFile, query: pl.LazyFrame) -> pl.DataFrame:
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
