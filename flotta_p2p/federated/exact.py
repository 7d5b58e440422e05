"""Sums without rounding, so that a pooled result has the same bits however the rows are split among holders.

A sum travels as an *expansion*: doubles that do not overlap, largest first, whose mathematical sum is the
exact sum of all values (J. R. Shewchuk, Adaptive Precision Floating-Point Arithmetic and Fast Robust
Geometric Predicates, 1997). Mean and variance are computed from the merged expansions as fractions and
rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import polars as pl

Expansion = tuple[float, ...]

MAGNITUDE_MAX: Final = 1e140  # its square, and sums of 10^28 squares, stay below the largest double, 1.8e308
MAGNITUDE_MIN: Final = 1e-140  # of values to be squared, zero apart: below 1e-146 a square's error is no double
EXPANSION_PARTS_MAX: Final = 40  # each part lies 53 bits or more below the one before; doubles span 2,098 bits
_SPLITTER: Final = 2.0**27 + 1.0  # halves the 53 bits of a double
_SLICE_ROWS: Final = 1_000_000  # Python floats take 32 bytes each: 32 MB at a time

T = TypeVar("T", float, "pl.Series")


def exact_sum(values: Iterable[float]) -> Expansion:
    """The exact sum of doubles of at most MAGNITUDE_MAX, in its one canonical expansion; empty for zero.

    Each part is what the parts before it left over, rounded once: `math.fsum` rounds correctly.
    """
    rest = list(values)
    parts: list[float] = []
    while part := math.fsum(rest):
        parts.append(part)
        rest.append(-part)
    return tuple(parts)


def square_terms(x: T) -> tuple[T, T]:
    """Two doubles whose sum is exactly x²: Veltkamp's split and Dekker's product.

    T. J. Dekker, A floating-point technique for extending the available precision, 1971. Exact for zero and
    for magnitudes from MAGNITUDE_MIN to MAGNITUDE_MAX.
    """
    scaled = x * _SPLITTER
    high = scaled - (scaled - x)
    low = x - high
    square = x * x
    error = ((high * high - square) + high * low * 2.0) + low * low
    return square, error


def sum_of(values: pl.Series) -> Expansion:
    """`exact_sum` of a column without missing values, in slices: the sum of exact sums is exact."""
    starts = range(0, len(values), _SLICE_ROWS)
    parts = (exact_sum(values.slice(start, _SLICE_ROWS).to_list()) for start in starts)
    return exact_sum(chain.from_iterable(parts))


def squares_of(values: pl.Series) -> Expansion:
    """The exact sum of the squares of a column without missing values."""
    return exact_sum(chain.from_iterable(sum_of(term) for term in square_terms(values)))


def fraction(expansion: Expansion) -> Fraction:
    return sum(map(Fraction, expansion), Fraction(0))


def mean(totals: Sequence[Expansion], count: int) -> float | None:
    """The mean of `count` values whose sum is that of all `totals`, rounded once; None for no values."""
    return float(sum(map(fraction, totals), Fraction(0)) / count) if count else None


def variance(totals: Sequence[Expansion], squares: Sequence[Expansion], count: int) -> float | None:
    """The sample variance (divided by count - 1), rounded once; None for fewer than two values."""
    if count < 2:
        return None
    total = sum(map(fraction, totals), Fraction(0))
    square = sum(map(fraction, squares), Fraction(0))
    return float((square - total * total / count) / (count - 1))
