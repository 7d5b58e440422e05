"""Sums, means and variances are exact, whatever the values and however the rows are split."""

from __future__ import annotations

import statistics
from fractions import Fraction
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotta_p2p.federated.exact import (
    EXPANSION_PARTS_MAX,
    MAGNITUDE_MAX,
    MAGNITUDE_MIN,
    exact_sum,
    fraction,
    mean,
    squares_of,
    sum_of,
    variance,
)

doubles = st.floats(-MAGNITUDE_MAX, MAGNITUDE_MAX, allow_nan=False)
squarable = doubles.filter(lambda x: x == 0 or abs(x) >= MAGNITUDE_MIN)
near = st.floats(-1e3, 1e3).map(lambda x: 1e9 + x)  # a large offset: the textbook formula loses all digits


def column(values: list[float]) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64)


@given(st.lists(doubles | st.floats(-1e-300, 1e-300)))
def test_an_expansion_is_the_exact_sum_and_canonical(values: list[float]) -> None:
    parts = exact_sum(values)
    assert fraction(parts) == sum(map(Fraction, values))
    assert parts == exact_sum(reversed(values)) == exact_sum(parts)
    assert len(parts) <= EXPANSION_PARTS_MAX
    assert all(abs(Fraction(low)) * 2**53 <= abs(Fraction(high)) for high, low in pairwise(parts))


@given(st.lists(squarable))
def test_squares_are_exact(values: list[float]) -> None:
    assert fraction(squares_of(column(values))) == sum(Fraction(value) ** 2 for value in values)


@pytest.mark.parametrize("value", [MAGNITUDE_MAX, MAGNITUDE_MIN, -MAGNITUDE_MIN * (1 + 2**-52), 0.1, 1 + 2**-52])
def test_squares_are_exact_at_the_ends_of_the_range(value: float) -> None:
    assert fraction(squares_of(column([value] * 3))) == 3 * Fraction(value) ** 2


@given(st.lists(squarable | near, min_size=2, max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_any_split_of_the_rows_gives_the_same_bits(values: list[float], cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    shares = [column(values[start:end]) for start, end in pairwise(ends)]
    totals, squares = [sum_of(share) for share in shares], [squares_of(share) for share in shares]
    exact = [Fraction(value) for value in values]
    assert mean(totals, len(values)) == float(statistics.mean(exact))
    assert variance(totals, squares, len(values)) == float(statistics.variance(exact))


def test_a_large_offset_costs_no_digit() -> None:
    values = [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]
    assert variance([sum_of(column(values))], [squares_of(column(values))], 4) == 30.0


def test_a_sum_of_many_slices_is_exact() -> None:
    values = column([0.1, 1e16, -1e16] * 700_000)
    assert fraction(sum_of(values)) == 700_000 * Fraction(0.1)


def test_what_is_undefined_is_none() -> None:
    assert mean([()], 0) is None
    assert variance([(1.0,)], [(1.0,)], 1) is None
