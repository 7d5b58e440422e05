"""A filter as a Polars expression: a condition on a missing value is neither true nor false."""

from __future__ import annotations

import math
from typing import Final, assert_never

import polars as pl

from protocol.errors import Code, DataError
from protocol.plan.filters import AllOf, AnyOf, Compare, Filter, IsIn, IsNull, Not, Relation, Value

_TYPE_NAMES: Final = {pl.Float64: "numbers", pl.Boolean: "true and false", pl.String: "text"}


def select_rows(frame: pl.DataFrame, where: Filter | None) -> pl.DataFrame:
    """The rows where the whole filter is true. `frame` holds every column that the filter names.

    Raises DataError(FILTER_MALFORMED) when a value cannot be compared with its column.
    """
    return frame if where is None else frame.filter(_condition(frame, where))


def _condition(frame: pl.DataFrame, where: Filter) -> pl.Expr:
    match where:
        case Compare(column=column, relation=relation, value=value):
            return _comparison(frame, column, relation, value)
        case IsIn(column=column, values=values):
            found = [_comparable(frame, column, value) for value in values]
            return _unknown() if _is_empty(frame, column) else pl.col(column).is_in(found)
        case IsNull(column=column):
            return pl.col(column).is_null()
        case Not(term=term):
            return ~_condition(frame, term)
        case AllOf(terms=terms):
            return pl.all_horizontal(_condition(frame, term) for term in terms)
        case AnyOf(terms=terms):
            return pl.any_horizontal(_condition(frame, term) for term in terms)
        case _:
            assert_never(where)


def _comparison(frame: pl.DataFrame, column: str, relation: Relation, raw: Value) -> pl.Expr:
    value = _comparable(frame, column, raw)
    if _is_empty(frame, column):
        return _unknown()
    if isinstance(value, bool) and relation not in ("==", "!="):
        raise _wrong(f'the column "{column}" holds true and false, which are compared by == and != alone')
    cell, constant = pl.col(column), pl.lit(value)
    match relation:
        case "==":
            return cell == constant
        case "!=":
            return cell != constant
        case "<":
            return cell < constant
        case "<=":
            return cell <= constant
        case ">":
            return cell > constant
        case ">=":
            return cell >= constant
        case _:
            assert_never(relation)


def _comparable(frame: pl.DataFrame, column: str, value: Value) -> str | bool | float:
    """The value as its column's type; integers as the nearest double, as those of the table were read."""
    kind = frame.schema[column]
    if _is_empty(frame, column):
        return 0.0  # all values are missing, and so nothing says what type they would have
    match value:
        case bool() if kind == pl.Boolean:
            return value
        case str() if kind == pl.String:
            return value
        case bool():
            pass
        case int() | float() if kind == pl.Float64:
            return _finite(column, value)
    shown = f'the text "{value[:64]}"' if isinstance(value, str) else f"{str(value)[:64]}"
    raise _wrong(f'the column "{column}" holds {_TYPE_NAMES[type(kind)]} and cannot be compared with {shown}')


def _finite(column: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(f'the column "{column}" is compared with a value that is no finite number')
    return number


def _is_empty(frame: pl.DataFrame, column: str) -> bool:
    return frame[column].null_count() == frame.height


def _unknown() -> pl.Expr:
    return pl.lit(None, dtype=pl.Boolean)


def _wrong(sentence: str) -> DataError:
    step = "write numbers bare (age > 40), text in quotes (sex == 'f'), and True or False for booleans"
    return DataError(Code.FILTER_MALFORMED, sentence, next_step=step)
