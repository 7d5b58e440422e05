"""A curve in characters: each is a field of two by four dots, from the Braille block of Unicode."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Final

_BLANK: Final = 0x2800
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column within a field
_LABEL_CHARS: Final = 12
_LARGEST: Final = sys.float_info.max


def draw(
    xs: Sequence[float], ys: Sequence[float], *, columns: int, rows: int, unit: str = "", x_unit: str = ""
) -> list[str]:
    """Lines of at most `columns` characters, `rows` of them for the curve. What is not finite is left out.

    `xs` rises. Neighbours are joined by a line.
    """
    points = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    if not points:
        return ["no finite value"]
    low, high = _range([y for _, y in points])
    first, last = points[0][0], points[-1][0]
    width, height = max(columns - _LABEL_CHARS - 2, 10) * 2, rows * 4
    field = [[_BLANK] * (width // 2) for _ in range(rows)]
    before: tuple[int, int] | None = None
    for x, y in points:
        column = 0 if last == first else round(_share(x, first, last) * (width - 1))
        row = round(_share(y, high, low) * (height - 1))
        for at_column, at_row in _line(before or (column, row), (column, row)):
            field[at_row // 4][at_column // 2] |= _DOTS[at_row % 4][at_column % 2]
        before = (column, row)
    labels = [_number(high), *[""] * (rows - 2), _number(low)]
    lines = [f"{label:>{_LABEL_CHARS}} ┤{''.join(map(chr, line))}" for label, line in zip(labels, field, strict=True)]
    under = f"{_number(first)} to {_number(last)} {x_unit}".rstrip()
    return [*([f"{'':>{_LABEL_CHARS}}  {unit}"] if unit else []), *lines, f"{'':>{_LABEL_CHARS}}  {under}"]


def _line(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Dots from the one to the other, both included."""
    columns, rows = end[0] - start[0], end[1] - start[1]
    steps = max(abs(columns), abs(rows))
    for step in range(steps + 1):
        share = step / steps if steps else 0.0
        yield start[0] + round(share * columns), start[1] + round(share * rows)


def _range(ys: Sequence[float]) -> tuple[float, float]:
    low, high = min(ys), max(ys)
    if high > low:
        return low, high
    margin = abs(low) * 0.1 or 1.0
    return max(low - margin, -_LARGEST), min(high + margin, _LARGEST)


def _share(value: float, start: float, end: float) -> float:
    """How far `value` is on the way from `start` to `end`, 0 to 1, also where their distance is no float."""
    if not math.isfinite(end - start):
        value, start, end = value / 4, start / 4, end / 4
    return (value - start) / (end - start)


def _number(value: float) -> str:
    return f"{value:.5g}"
