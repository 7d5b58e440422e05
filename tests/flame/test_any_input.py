"""Whatever a person types: a meaning, or the one error of flame in a sentence; never another exception."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from flame.authoring import parameters
from flame.types import port_types, portable, units
from protocol.errors import WorkflowError

TEXTS = some.text(max_size=40)
UNIT_LIKE = some.text(alphabet="mMkHzVsdBCeg°µΩ√{}()^*/·⁻²0123456789.eE-% ", max_size=30)
LEAVES = (
    some.none()
    | some.booleans()
    | some.integers(-(2**63), 2**64 - 1)
    | some.floats()
    | some.text(max_size=8)
    | some.binary(max_size=8)
)
KEYS = some.none() | some.booleans() | some.integers(-(2**63), 2**64 - 1) | some.text(max_size=8) | some.just("$float")
VALUES = some.recursive(
    LEAVES, lambda inner: some.lists(inner, max_size=4) | some.dictionaries(KEYS, inner, max_size=4)
)
ARRAYS = some.sampled_from(["f8", "f4", "i4", "u8", "b1", "c16", ">f8", "U3", "m8[s]", "O"]).map(
    lambda dtype: numpy.zeros((2, 3), dtype)
)
TYPES = ["any", "None", "bool", "int", "float", "str", "bytes", "list", "dict", "float | None", "int | str", "f8[3]"]
TYPES += ["i4[*]", "f8[...]", "c8[2, 3]", "u8[*, *] | None"]


@given(TEXTS | UNIT_LIKE)
@settings(max_examples=150, deadline=None)
def test_a_text_is_a_unit_or_is_refused(text: str) -> None:
    with suppress(WorkflowError):
        units.check(text)
        assert units.conversion(text, text) == (1.0, 0.0)


@given(UNIT_LIKE, UNIT_LIKE)
@settings(max_examples=150, deadline=None)
def test_a_conversion_is_finite_and_has_a_way_back(one: str, other: str) -> None:
    with suppress(WorkflowError):
        factor, offset = units.conversion(one, other)
        assert math.isfinite(factor) and math.isfinite(offset) and factor != 0
        if one and other:
            back, _ = units.conversion(other, one)
            assert factor * back == pytest.approx(1.0)


@given(TEXTS | some.text(alphabet="fiucb1248[]*,. |None", max_size=20))
@settings(max_examples=150, deadline=None)
def test_a_text_is_a_type_with_one_canonical_form_or_is_refused(text: str) -> None:
    with suppress(WorkflowError):
        found = port_types.canonical(text)
        assert port_types.canonical(found) == found
        assert port_types.fits(found, found) == ""
        port_types.checker(found)
        port_types.annotation(found)


@given(some.sampled_from(TYPES), VALUES | ARRAYS)
@settings(max_examples=150, deadline=None)
def test_a_value_is_taken_in_one_form_or_refused(text: str, value: Any) -> None:
    check = port_types.checker(text)
    with suppress(WorkflowError):
        once = check(value)
        assert port_types.described(check(once)) == port_types.described(once)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_a_value_goes_through_json_and_comes_back(value: Any) -> None:
    held = json.loads(json.dumps(portable.dump(value), allow_nan=False))
    assert repr(portable.load(held)) == repr(value)


@given(some.recursive(some.none() | some.floats() | some.text(max_size=6), lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from(["$float", "$bytes", "$array", "$dict", "$x", "a"]), inner, max_size=2)))  # fmt: skip  # noqa: E501
@settings(max_examples=150, deadline=None)
def test_any_json_is_a_value_or_is_refused(held: Any) -> None:
    with suppress(WorkflowError):
        portable.load(held)


@given(
    some.binary(max_size=60)
    | some.text(alphabet='{}[]":,_unsed0123456789.eE-naNIfity \n\\', max_size=60).map(str.encode)
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_parameters_file_reads_or_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "parameters.json"
    path.write_bytes(data)
    with suppress(WorkflowError):
        file = parameters.read(path)
        parameters.write(path, parameters.healed(file, {}, {}))
        again = parameters.read(path)
        assert set(again.values) == set()
    assert path.exists()
