"""Values as JSON: bit for bit through a file, NaN and bytes and arrays included."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import msgspec
import numpy
import pytest

from flame import values
from flame.types import portable
from protocol.errors import Code, WorkflowError


def through_json(value: Any) -> Any:
    held = portable.dump(value)
    assert json.loads(json.dumps(held, allow_nan=False)) == held
    return portable.load(msgspec.json.decode(msgspec.json.encode(held)))


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**63, 2**64 - 1, -(2**63), 0.0, 3.0, 1e-308, "", "#/j41/a/b", "$x", b"", b"\x00\xff", [],
     [1, [2]], {}, {"a": None}, {"$float": "nan"}, {1: "one"}, {None: 1, "": 2}, {"a": {"$a": b"x"}}],
)  # fmt: skip
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    found = through_json(value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 0.1, 5e-324])
def test_a_float_comes_back_bit_for_bit(value: float) -> None:
    assert struct.pack("<d", through_json(value)) == struct.pack("<d", value)


def test_an_array_comes_back_with_its_dtype_and_shape() -> None:
    array = numpy.array([[1.5, math.nan], [-0.0, math.inf]], dtype="f4")
    found = through_json({"deep": [array]})["deep"][0]
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "i2", "u8", "?", "c16", "M8[ns]", "f2", "S3"])
@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3)])
def test_an_array_of_any_type_comes_back(dtype: str, shape: tuple[int, ...]) -> None:
    array = numpy.arange(math.prod(shape)).reshape(shape).astype(dtype)
    found = through_json(array)
    assert (found.dtype, found.shape) == (array.dtype.newbyteorder("<"), shape)
    assert found.tobytes() == array.astype(found.dtype).tobytes()


def test_numbers_of_an_array_can_be_read_and_written_by_people() -> None:
    assert portable.dump(numpy.array([[0.5, math.nan]])) == {"$array": ["<f8", [1, 2], [0.5, {"$float": "nan"}]]}
    assert portable.load({"$array": ["i4", [3], [1, 2, 3]]}).tolist() == [1, 2, 3]


def test_the_bits_of_an_odd_nan_are_kept() -> None:
    array = numpy.array([0xFFF8000000000001], dtype="<u8").view("<f8")
    assert through_json(array).tobytes() == array.tobytes()


def test_what_cannot_be_kept_is_named() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    for value, name in (
        (object(), "object"),
        ({1, 2}, "set"),
        (2**64, "64 bits"),
        (1j, "complex"),
        ("\ud800", "half of a character"),
        (deep, "nested"),
    ):
        with pytest.raises(WorkflowError, match=name) as caught:
            portable.dump([value])
        assert caught.value.code == Code.VALUE_WRONG


@pytest.mark.parametrize(
    "held",
    [{"$float": "1"}, {"$float": []}, {"$bytes": "?"}, {"$bytes": 1}, {"$array": "AAAA"}, {"$array": 3},
     {"$array": ["O", [1], [1]]}, {"$array": ["f8", [2], [1]]}, {"$array": ["u1", [1], [300]]},
     {"$array": ["f8", [1], ["x"]]}, {"$array": [1, 2]}, {"$dict": [1]}, {"$dict": [[[], 1]]}, {"$other": 1}],
)  # fmt: skip
def test_a_malformed_form_is_refused_in_a_sentence(held: Any) -> None:
    with pytest.raises(WorkflowError) as caught:
        portable.load(held)
    assert caught.value.code == Code.VALUE_WRONG


@pytest.mark.parametrize(
    "name", ["m8[s/0]", "M8[s/0]", "m8[0s]", "f8,f8", "(2,)f8", "{}", "[('a', 'f8')]", "f8\0", "", 5]
)
def test_numpy_is_asked_for_no_type_that_is_no_name(name: object) -> None:
    """Of "m8[s/0]" numpy divides by zero: the process ends."""
    with pytest.raises(WorkflowError, match="malformed"):
        portable.load({"$array": [name, [1], [1]]})
    held = msgspec.msgpack.Ext(1, msgspec.msgpack.encode([name, [1], b"12345678"]))
    with pytest.raises(WorkflowError):
        values.decode(msgspec.msgpack.encode(held))
