"""Values as people and other programs see them."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flotta_p2p.commands.flame.showing import as_cell, as_text, as_time


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        *((0.0, "0.0"), (-0.0, "-0.0"), (math.nan, "nan"), (-math.inf, "-inf"), (None, "")),
        *((2**63, "9223372036854775808"), ("a,b", "a,b"), (True, "true")),
        *((b"\x00", '{"$bytes": "AA=="}'), ([[1], []], "[[1], []]")),
    ],
)
def test_a_cell_holds_numbers_and_text_as_they_are_and_json_for_the_rest(value: Any, cell: str) -> None:
    assert as_cell(value) == cell


@given(st.floats(allow_nan=False))
def test_a_number_in_a_cell_is_exact(value: float) -> None:
    assert struct.pack("<d", float(as_cell(value))) == struct.pack("<d", value)


def test_text_for_people_is_one_line_that_ends() -> None:
    assert as_text(b"\x1b[2J\n") == r"b'\x1b[2J\n'"
    assert as_text(np.zeros(2048)).startswith("f8[2048] [0. 0. 0. ")
    assert len(as_text("x" * 10_000)) < 500
    assert "\n" not in as_text(np.zeros((100, 100)))


def test_times_are_shown_to_the_nanosecond() -> None:
    assert as_time(1_795_341_600_000_000_001) == "2026-11-22T10:00:00.000000001Z"
