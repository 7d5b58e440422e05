"""Pool the measures of all holders.

What a holder sent is judged first: one that makes no sense is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise

from flotta_p2p.federated import exact
from protocol.errors import Code, DataError, RemoteProtocolError
from protocol.limits import MEASURE_BYTES_MAX
from protocol.plan.tasks import (
    Cells,
    ColumnMeasure,
    ColumnSummary,
    Coverage,
    Histogram,
    Measure,
    Settings,
    SourceCoverage,
    Summary,
)
from protocol.wire.codec import decode_record

_REFUSAL_CHARS_MAX = 200  # of a holder's words; ours are shorter

Labelled = tuple[str, Measure]


def read_measure(label: str, data: bytes) -> Measure:
    """A holder's product. Raises DataError(RESULT_ALTERED) naming the holder."""
    try:
        return decode_record(data, Measure, bytes_max=MEASURE_BYTES_MAX)
    except RemoteProtocolError as error:
        raise altered(label, error.sentence) from error


def pool(settings: Settings, measures: Sequence[Labelled]) -> Summary:
    """The summary, the same for any order of `measures`.

    Raises DataError(RESULT_ALTERED) naming the holder.
    """
    ordered = sorted(measures, key=lambda labelled: labelled[0])
    for label, measure in ordered:
        _check_measure(label, measure, settings)
    require_once(label for label, _ in ordered)
    rows = sum(measure.rows or 0 for _, measure in ordered)
    sources = tuple(_source_coverage(label, measure, settings) for label, measure in ordered)
    return Summary(
        rows=rows,
        columns={name: _pool_column(name, settings, ordered) for name in settings.columns},
        coverage=Coverage(
            sources=len(sources),
            sources_counted=sum(one.rows is not None for one in sources),
            rows=rows,
            cells_withheld=sum(one.cells_withheld for one in sources),
            by_source=sources,
        ),
    )


def _pool_column(name: str, settings: Settings, measures: Sequence[Labelled]) -> ColumnSummary:
    return pool_column(name, settings, [measure.columns.get(name) for _, measure in measures])


def pool_column(name: str, settings: Settings, measures: Iterable[ColumnMeasure | None]) -> ColumnSummary:
    """One column of all sources; None stands for one that withholds it."""
    found = [column for column in measures if column is not None]
    present = sum(column.present for column in found)
    totals = [column.total for column in found if column.total is not None]
    squares = [column.squares for column in found if column.squares is not None]
    cells = [column.cells for column in found if column.cells is not None]
    return ColumnSummary(
        present=present,
        missing=sum(column.missing for column in found),
        sources=len(found),
        mean=exact.mean(totals, present) if "mean" in settings.statistics else None,
        variance=exact.variance(totals, squares, present) if "variance" in settings.statistics else None,
        histogram=_pool_cells(settings.edges[name], cells) if cells else None,
    )


def _pool_cells(edges: tuple[float, ...], cells: Sequence[Cells]) -> Histogram:
    return Histogram(
        edges=edges,
        counts=tuple(
            sum(count or 0 for count in column) for column in zip(*(cell.counts for cell in cells), strict=True)
        ),
        below=sum(cell.below or 0 for cell in cells),
        above=sum(cell.above or 0 for cell in cells),
        cells_withheld=sum(map(_hidden, cells)),
    )


def _hidden(cells: Cells) -> int:
    return sum(count is None for count in (cells.below, *cells.counts, cells.above))


def _source_coverage(label: str, measure: Measure, settings: Settings) -> SourceCoverage:
    columns = [column for column in measure.columns.values() if column is not None]
    return SourceCoverage(
        source=label,
        rows=measure.rows,
        cells_withheld=sum(_hidden(column.cells) for column in columns if column.cells is not None),
        columns_withheld=tuple(name for name in settings.columns if measure.columns.get(name) is None),
        withheld=measure.withheld,
    )


# --- judging what came --------------------------------------------------------------------------


def _check_measure(label: str, measure: Measure, settings: Settings) -> None:
    if measure.rows is None:
        if measure.columns or not is_reason(measure.withheld):
            raise altered(label, "it withholds its rows and does not simply say why")
        return
    if measure.withheld or measure.rows < 0:
        raise altered(label, "its number of rows makes no sense")
    if set(measure.columns) != set(settings.columns):
        raise altered(label, "its columns are not those of the query")
    for name, column in measure.columns.items():
        if column is not None:
            check_column(f'{label}, column "{name}"', name, column, measure.rows, settings)


def is_reason(text: str) -> bool:
    """Whether a holder may say so why it withholds everything."""
    return 0 < len(text) <= _REFUSAL_CHARS_MAX and text.isprintable()


def require_once(labels: Iterable[str]) -> None:
    """Raises DataError(RESULT_ALTERED) unless each of the sorted labels stands once."""
    for label, following in pairwise(labels):
        if label == following:
            raise altered(label, "it came twice")


def check_column(where: str, name: str, column: ColumnMeasure, rows: int, settings: Settings) -> None:
    """Raises DataError(RESULT_ALTERED), beginning with `where`, for numbers that no column of `rows` rows has."""
    edges = settings.edges.get(name)
    if column.present < 0 or column.missing < 0 or column.present + column.missing != rows:
        raise altered(where, "present and missing values do not add up to its rows")
    wants_squares = "variance" in settings.statistics
    wants_total = wants_squares or "mean" in settings.statistics
    if (column.total is not None, column.squares is not None) != (wants_total, wants_squares):
        raise altered(where, "it has other sums than those asked for")
    if (column.cells is None) != (edges is None):
        raise altered(where, "it has another histogram than the one asked for")
    _check_sums(where, column)
    if column.cells is not None and edges is not None:
        _check_cells(where, column.cells, column.present, len(edges) - 1)


def _check_sums(where: str, column: ColumnMeasure) -> None:
    total, squares = column.total or (), column.squares or ()
    if not all(map(math.isfinite, total + squares)):
        raise altered(where, "a sum is not finite")
    if max(len(total), len(squares)) > exact.EXPANSION_PARTS_MAX:
        raise altered(where, "a sum has too many parts")
    sum_size, square = abs(exact.fraction(total)), exact.fraction(squares)
    if sum_size > column.present * Fraction(exact.MAGNITUDE_MAX):
        raise altered(where, "its sum is too large for its values")
    if square > column.present * Fraction(exact.MAGNITUDE_MAX) ** 2:
        raise altered(where, "its sum of squares is too large for its values")
    # Cauchy and Schwarz: a sum squared is at most the number of values times the sum of squares.
    if column.squares is not None and sum_size * sum_size > column.present * square:
        raise altered(where, "its sums contradict each other")


def _check_cells(where: str, cells: Cells, present: int, bins: int) -> None:
    if len(cells.counts) != bins:
        raise altered(where, f"its histogram has {len(cells.counts)} bins where {bins} were asked for")
    counts = (cells.below, *cells.counts, cells.above)
    shown = [count for count in counts if count is not None]
    if any(count < 0 for count in shown) or sum(shown) > present:
        raise altered(where, "its histogram counts more or fewer values than it has")
    if len(shown) == len(counts) and sum(shown) != present:
        raise altered(where, "its histogram counts more or fewer values than it has")


def altered(holder: str, what: str) -> DataError:
    """The refusal of what a holder sent."""
    step = "ask that holder which version it runs; the job gives no result with a measure that makes no sense"
    return DataError(Code.RESULT_ALTERED, f"the measure of {holder} is refused: {what}", next_step=step)
