"""Curves in characters."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from flotta_p2p.commands.flame.terminal_plot import draw

NUMBERS = st.lists(st.floats(), min_size=1, max_size=50)


@given(NUMBERS, st.integers(1, 120), st.integers(2, 30))
def test_any_numbers_are_drawn_within_the_room_that_there_is(ys: list[float], columns: int, rows: int) -> None:
    lines = draw(range(len(ys)), ys, columns=columns, rows=rows)
    if any(map(math.isfinite, ys)):
        assert len(lines) == rows + 1
        assert all(len(line) <= max(columns, 24) for line in lines[:-1])
    else:
        assert lines == ["no finite value"]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    lines = draw(range(100), range(100), columns=40, rows=5)
    curve = [line.partition("┤")[2] for line in lines[:5]]
    firsts = [next(at for at, char in enumerate(line) if char != "⠀") for line in curve]
    assert firsts == sorted(firsts, reverse=True)
    assert firsts[-1] == 0 and curve[0][-1] != "⠀"


def test_neighbours_are_joined() -> None:
    lines = draw([0, 1], [0, 1], columns=40, rows=8)
    curve = [line.partition("┤")[2] for line in lines[:8]]
    assert all(any(char != "⠀" for char in line) for line in curve)
    assert all(any(line[at] != "⠀" for line in curve) for at in range(len(curve[0])))
