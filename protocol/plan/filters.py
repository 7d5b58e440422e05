"""Which rows a query selects: a closed tree of conditions, and the short text form of it.

A condition on a missing value is neither true nor false (three-valued logic, as in SQL); a row is selected only where
the whole condition is true.
"""

from __future__ import annotations

import ast
import math
import warnings
from typing import Literal, get_args

from protocol.errors import Code, WorkflowError
from protocol.limits import FILTER_DEPTH_MAX, FILTER_TERMS_MAX, FILTER_VALUES_MAX
from protocol.plan.filter_hints import EXAMPLE, hint
from protocol.record import Record

Relation = Literal["==", "!=", "<", "<=", ">", ">="]
Value = str | int | float | bool


class Compare(Record, frozen=True, tag="compare"):
    column: str
    relation: Relation
    value: Value


class IsIn(Record, frozen=True, tag="is-in"):
    column: str
    values: tuple[Value, ...]


class IsNull(Record, frozen=True, tag="is-null"):
    column: str


class Not(Record, frozen=True, tag="not"):
    term: Filter


class AllOf(Record, frozen=True, tag="all"):
    terms: tuple[Filter, ...]


class AnyOf(Record, frozen=True, tag="any"):
    terms: tuple[Filter, ...]


Filter = Compare | IsIn | IsNull | Not | AllOf | AnyOf


def leaves(where: Filter | None) -> tuple[Compare | IsIn | IsNull, ...]:
    """All conditions on single columns, left to right. Raises WorkflowError(FILTER_MALFORMED) beyond the limits."""
    found: list[Compare | IsIn | IsNull] = []
    waiting: list[tuple[Filter, int]] = [(where, 0)] if where is not None else []
    seen = 0
    while waiting:
        term, depth = waiting.pop()
        seen += 1
        if seen > FILTER_TERMS_MAX:
            raise _malformed(f"a filter has at most {FILTER_TERMS_MAX} terms")
        if depth > FILTER_DEPTH_MAX:
            raise _malformed(f"a filter has at most {FILTER_DEPTH_MAX} terms within each other")
        match term:
            case AllOf(terms=terms) | AnyOf(terms=terms):
                if not terms:
                    raise _malformed("a filter joins at least one term")
                waiting.extend((inner, depth + 1) for inner in reversed(terms))
            case Not(term=inner):
                waiting.append((inner, depth + 1))
            case IsIn(values=values) if not 0 < len(values) <= FILTER_VALUES_MAX:
                raise _malformed(f"a membership names 1 to {FILTER_VALUES_MAX} values")
            case _:
                found.append(term)
    return tuple(found)


def columns_of(where: Filter | None) -> tuple[str, ...]:
    """The columns that a filter reads, each once, in order of appearance."""
    return tuple(dict.fromkeys(leaf.column for leaf in leaves(where)))


# --- the text form ------------------------------------------------------------------------------

_RELATIONS: dict[type[ast.cmpop], Relation] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def parse_filter(text: str) -> Filter:
    """Reads `age >= 40 and (sex == 'f' or site in ['a', 'b']) and not dose is None`.

    The grammar is that of Python's comparisons, `and`, `or`, `not`, `in` and `is None`, over column names and
    constants alone. A column whose name is no word is written as `col('body mass')`. Raises
    WorkflowError(FILTER_MALFORMED). Not from two threads at once: it sets the process's filter of warnings.
    """
    if len(text) > 64 * FILTER_TERMS_MAX:
        raise _malformed("the filter text is too long")
    try:
        return _parsed(text)
    except WorkflowError as error:
        error.next_step = hint(text)
        raise


def _parsed(text: str) -> Filter:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # `age > 40and sex` is read by Python with a warning, by us not at all
            tree = ast.parse(text.strip(), mode="eval").body
        found = _read(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _malformed(f'the filter "{text[:80]}" does not read') from error
    leaves(found)
    return found


def _read(node: ast.expr) -> Filter:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return AllOf(terms=tuple(_read(value) for value in values))
        case ast.BoolOp(op=ast.Or(), values=values):
            return AnyOf(terms=tuple(_read(value) for value in values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Not(term=_read(operand))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _comparison(_column(left), op, right)
        case ast.Compare():
            raise _malformed("a chain like 1 < x < 5 is written as: 1 < x and x < 5")
        case _:
            raise _malformed(f'"{ast.unparse(node)[:80]}" is no condition')


def _comparison(column: str, op: ast.cmpop, right: ast.expr) -> Filter:
    match op, right:
        case ast.In(), ast.List(elts=elements) | ast.Tuple(elts=elements):
            return IsIn(column=column, values=tuple(_constant(element) for element in elements))
        case ast.NotIn(), ast.List(elts=elements) | ast.Tuple(elts=elements):
            return Not(term=IsIn(column=column, values=tuple(_constant(element) for element in elements)))
        case ast.Is(), ast.Constant(value=None):
            return IsNull(column=column)
        case ast.IsNot(), ast.Constant(value=None):
            return Not(term=IsNull(column=column))
    relation = _RELATIONS.get(type(op))
    if relation is None:
        raise _malformed(f"the relation of {column} is not one of {', '.join(get_args(Relation))}, in, is None")
    return Compare(column=column, relation=relation, value=_constant(right))


def _column(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))], keywords=[]):
            return name
    raise _malformed(f'"{ast.unparse(node)[:80]}" is no column; a column stands on the left')


def _constant(node: ast.expr) -> Value:
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    match node:
        case ast.Constant(value=bool() as value) if sign == 1:
            return value
        case ast.Constant(value=str() as value) if sign == 1 and value.isprintable():
            return value
        case ast.Constant(value=float() as value) if math.isfinite(value):
            return sign * value
        case ast.Constant(value=int() as value) if not isinstance(value, bool) and value < 2**63:
            return sign * value
    raise _malformed(
        f'"{ast.unparse(node)[:80]}" is no constant; write a 64-bit number, True, False or a printable text in quotes'
    )


def _malformed(sentence: str) -> WorkflowError:
    return WorkflowError(Code.FILTER_MALFORMED, sentence, next_step=EXAMPLE)
