"""Values as people and other programs see them."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flame.values import encode
from flotta_p2p.commands.flame.showing import as_cell, as_json, as_text, as_time

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
SCALARS |= st.binary() | st.just(math.nan)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9) | st.binary(), inner),
    max_leaves=12,
)


def from_json(seen: Any) -> Any:
    """What the page of addresses tells readers of other languages to do."""
    if isinstance(seen, list):
        return [from_json(item) for item in seen]
    if not isinstance(seen, dict):
        return seen
    match seen:
        case {"$float": text}:
            return float(text)
        case {"$bytes": text}:
            return base64.b64decode(text)
        case {"$map": pairs}:
            return {from_json(key): from_json(item) for key, item in pairs}
        case {"$array": dtype, "shape": shape, "values": values}:
            return np.array(from_json(values), dtype=dtype).reshape(shape)
        case {"$array": dtype, "shape": shape, "base64": text}:
            return np.frombuffer(base64.b64decode(text), dtype=dtype).reshape(shape)
    return {key: from_json(item) for key, item in seen.items()}


def strict(value: Any) -> Any:
    return json.loads(json.dumps(as_json(value), allow_nan=False))


@given(VALUES)
def test_strict_json_brings_every_value_back_bit_for_bit(value: Any) -> None:
    assert encode(from_json(strict(value))) == encode(value)


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, math.nan, math.inf, -math.inf, b"\x00\xff", None, 2**63, 2**64 - 1, [[1.0], [2, 3.0, [None]]], 5e-324],
)
def test_bug_02_values_of_the_old_decoder_come_back_from_json(value: Any) -> None:
    assert encode(from_json(strict(value))) == encode(value)


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.0, -0.0, np.nan, np.inf, -np.inf]),
        np.arange(6, dtype="<u2").reshape(2, 3),
        np.array([1 + 2j], dtype="<c16"),
        np.zeros((0, 3)),
        np.array(2**63, dtype="<u8"),
        np.array([True, False]),
        np.array(["2026-11-22T10:00"], dtype="<M8[ns]"),
    ],
)
def test_an_array_comes_back_from_json_with_type_and_shape(array: Any) -> None:
    back = from_json(strict(array))
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_a_map_that_looks_like_a_mark_is_no_mark() -> None:
    value = {"$float": "nan", "other": 1}
    assert from_json(strict(value)) == value


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
