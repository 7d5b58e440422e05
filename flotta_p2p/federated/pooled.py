"""The pooled truth: the same question answered as if all tables lay in one place. For the demo and for tests.

It shares with the holders' path only the order spelled out and the rules of disclosure: tables are read by
the csv module, conditions evaluated row by row, sums taken as fractions by the statistics module. Slow on
purpose.
"""

from __future__ import annotations

import csv
import math
import operator
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from flotta_p2p.federated.disclosure import cohort_refusal, column_allowed, suppress
from flotta_p2p.federated.summary import prepare
from protocol.plan.artifact import Artifact
from protocol.plan.filters import AllOf, AnyOf, Compare, Filter, IsIn, IsNull, Not
from protocol.plan.tasks import (
    ColumnSummary,
    Coverage,
    Histogram,
    Settings,
    SourceCoverage,
    SourceFile,
    Summary,
)

_MISSING: Final = frozenset({"", "na", "n/a", "nan", "null"})
_DIGITS: Final = frozenset("0123456789+-.eE")
_RELATIONS: Final[dict[str, Callable[..., bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Cell = str | float | bool | None
Row = dict[str, Cell]
Counts = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class _Share:
    """What counts of one source: its selected cells by column, and the heights that it lets out (below, bins,
    above).
    """

    label: str
    rows: int
    refusal: str
    cells: dict[str, list[Cell]]
    heights: dict[str, Counts]


def pooled_summary(artifact: Artifact, sources: Sequence[tuple[str, SourceFile]]) -> Summary:
    """What `merge` must give, for tables without a fault; each source with the label of its participant."""
    settings = prepare(artifact)
    shares = [_share(artifact, settings, *labelled) for labelled in sorted(sources, key=operator.itemgetter(0))]
    coverage = tuple(_coverage(share, settings) for share in shares)
    rows = sum(share.rows for share in shares)
    return Summary(
        rows=rows,
        columns={name: _column(name, settings, shares) for name in settings.columns},
        coverage=Coverage(
            sources=len(shares),
            sources_counted=sum(not share.refusal for share in shares),
            rows=rows,
            cells_withheld=sum(one.cells_withheld for one in coverage),
            by_source=coverage,
        ),
    )


def _share(artifact: Artifact, settings: Settings, label: str, source: SourceFile) -> _Share:
    where = artifact.query.where
    rows = [row for row in _read_rows(source) if where is None or _holds(where, row)]
    refusal = cohort_refusal(len(rows), source.rules)
    if refusal:
        return _Share(label=label, rows=0, refusal=refusal, cells={}, heights={})
    columns = {name: [row[name] for row in rows] for name in settings.columns}
    allowed = {name: cells for name, cells in columns.items() if column_allowed(len(_present(cells)), source.rules)}
    heights = {
        name: suppress(_heights(settings.edges[name], _numbers(cells)), source.rules.minimum_cell)
        for name, cells in allowed.items()
        if name in settings.edges
    }
    return _Share(label=label, rows=len(rows), refusal="", cells=allowed, heights=heights)


def _coverage(share: _Share, settings: Settings) -> SourceCoverage:
    return SourceCoverage(
        source=share.label,
        rows=None if share.refusal else share.rows,
        cells_withheld=sum(counts.count(None) for counts in share.heights.values()),
        columns_withheld=tuple(name for name in settings.columns if name not in share.cells),
        withheld=share.refusal,
    )


def _column(name: str, settings: Settings, shares: Sequence[_Share]) -> ColumnSummary:
    counted = [share for share in shares if name in share.cells]
    cells = [cell for share in counted for cell in share.cells[name]]
    present = len(_present(cells))
    wants_mean, wants_variance = ("mean" in settings.statistics, "variance" in settings.statistics)
    return ColumnSummary(
        present=present,
        missing=len(cells) - present,
        sources=len(counted),
        mean=float(statistics.mean(_numbers(cells))) if wants_mean and present else None,
        variance=float(statistics.variance(_numbers(cells))) if wants_variance and present > 1 else None,
        histogram=_histogram(settings.edges[name], [share.heights[name] for share in counted])
        if counted and name in settings.edges
        else None,
    )


def _histogram(edges: tuple[float, ...], heights: Sequence[Counts]) -> Histogram:
    below, *bins, above = (sum(filter(None, column)) for column in zip(*heights, strict=True))
    withheld = sum(counts.count(None) for counts in heights)
    return Histogram(edges=edges, counts=tuple(bins), below=below, above=above, cells_withheld=withheld)


def _heights(edges: tuple[float, ...], numbers: Sequence[Fraction]) -> list[int]:
    def bin_of(value: Fraction) -> int:
        if value == edges[-1]:
            return len(edges) - 1
        return sum(edge <= value for edge in edges)

    heights = [0] * (len(edges) + 1)
    for value in numbers:
        heights[bin_of(value)] += 1
    return heights


def _present(cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell is not None]


def _numbers(cells: Sequence[Cell]) -> list[Fraction]:
    return [Fraction(cell) for cell in cells if isinstance(cell, float)]


# --- tables and conditions ----------------------------------------------------------------------


def _read_rows(source: SourceFile) -> list[Row]:
    with Path(source.path).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file, delimiter="," if source.type == "csv" else "\t") if row]
    columns = {name.strip(): _typed([row[at].strip() for row in rows]) for at, name in enumerate(header)}
    return [{name: cells[at] for name, cells in columns.items()} for at in range(len(rows))]


def _typed(texts: list[str]) -> list[Cell]:
    present = [text for text in texts if text.lower() not in _MISSING]
    convert: Callable[[str], Cell] = str
    if all(map(_is_number, present)):
        convert = float
    elif all(text.lower() in ("true", "false") for text in present):
        convert = _is_true
    return [None if text.lower() in _MISSING else convert(text) for text in texts]


def _is_true(text: str) -> bool:
    return text.lower() == "true"


def _is_number(text: str) -> bool:
    try:
        return _DIGITS.issuperset(text) and math.isfinite(float(text))
    except ValueError:
        return False


def _holds(where: Filter, row: Row) -> bool:
    return _truth(where, row) is True


def _truth(where: Filter, row: Row) -> bool | None:
    """True, False, or None for unknown (Kleene's logic)."""
    match where:
        case IsNull(column=column):
            return row[column] is None
        case Compare(column=column, relation=relation, value=value):
            cell = row[column]
            return None if cell is None else _RELATIONS[relation](cell, _alike(value))
        case IsIn(column=column, values=values):
            return None if row[column] is None else row[column] in map(_alike, values)
        case Not(term=term):
            inner = _truth(term, row)
            return None if inner is None else not inner
        case AllOf(terms=terms):
            truths = {_truth(term, row) for term in terms}
            return False if False in truths else None if None in truths else True
        case AnyOf(terms=terms):
            truths = {_truth(term, row) for term in terms}
            return True if True in truths else None if None in truths else False


def _alike(value: str | float) -> Cell:
    return value if isinstance(value, str | bool) else float(value)
