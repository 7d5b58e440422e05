from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flame.limits import ARRAY_INLINE_BYTES_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX
from flame.values import decode, encode
from protocol.errors import Code, WorkflowError
from tests.flame.any_values import NAN_WITH_A_MESSAGE, values
from tests.flame.same import is_same


@given(values)
@settings(max_examples=60)
def test_every_value_comes_back_to_the_last_bit(value: Any) -> None:
    assert is_same(decode(encode(value)), value)


@given(st.binary() | st.builds(lambda value, cut: encode(value)[cut:], values, st.integers(0, 20)))
@settings(max_examples=60)
def test_any_bytes_are_a_value_or_named_an_error(data: bytes) -> None:
    try:
        decode(data)
    except WorkflowError as error:
        assert error.code is Code.VALUE_WRONG


@pytest.mark.parametrize(
    "value",
    [
        *(0.0, -0.0, 3.0, math.nan, NAN_WITH_A_MESSAGE, math.inf, -math.inf, 5e-324),
        *(2**63, 2**64 - 1, -(2**63), True, 1, None, "", "\0", "€", b"", b"\0\xff"),
        [[1.5], [], [None, b"x"]],
        [np.arange(3), np.arange(2.0)],
        {"nested": {"map": [{"array": np.eye(2)}]}, 1: 2, None: 3},
        [0.1] * 10_000,
    ],
    ids=repr,
)
def test_bug_02_values_are_kept_as_they_are(value: Any) -> None:
    """The old code stored 0.0 as 1.1e-308, NaN and bytes as null, 2^63 negative and 3.0 as an integer."""
    assert is_same(decode(encode(value)), value)


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.bytes_(b"raw"), b"raw"),
    ],
    ids=repr,
)
def test_a_numpy_scalar_comes_back_as_the_python_value_of_the_same_content(scalar: Any, plain: Any) -> None:
    assert is_same(decode(encode(scalar)), plain)
    assert is_same(decode(encode([scalar, {scalar: scalar}])), [plain, {plain: plain}])


class Colour(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int = 1


class Row(msgspec.Struct):
    x: int = 1


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1j, "complex"),
        ({1, 2}, "set"),
        (object(), "object"),
        (Colour.RED, "Colour"),
        (Point(), "Point"),
        (Row(), "Row"),
        (datetime.datetime(2026, 1, 1), "datetime.datetime"),
        (decimal.Decimal(1), "decimal.Decimal"),
        (msgspec.Raw(b"\xc0"), "msgspec.Raw"),
        (msgspec.msgpack.Ext(1, b""), "msgspec.msgpack.Ext"),
        (np.datetime64("2026-01-01"), "numpy.datetime64"),
        (np.timedelta64(1, "s"), "numpy.timedelta64"),
        (np.complex64(1), "numpy.complex64"),
        (np.ma.masked_array([1], [True]), "MaskedArray"),
        (np.array([None]), "object"),
        ({(1, 2): 3}, "tuple"),
        (2**64, "2**64"),
        (-(2**63) - 1, "-2**63"),
        ("\ud800", "surrogates"),
    ],
    ids=lambda one: one if isinstance(one, str) and one.isascii() else "",
)
@pytest.mark.parametrize("nest", [lambda value: value, lambda value: [1, value], lambda value: {"a": [value]}])
def test_what_cannot_be_kept_is_refused_by_the_name_of_its_type(value: Any, name: str, nest: Any) -> None:
    with pytest.raises(WorkflowError) as caught:
        encode(nest(value))
    assert caught.value.code is Code.VALUE_WRONG
    assert name in str(caught.value)


def test_lists_within_lists_come_back_from_any_depth_that_is_kept() -> None:
    value: Any = 1.0
    for _ in range(VALUE_DEPTH_MAX):
        value = [value]
    assert is_same(decode(encode(value)), value)
    with pytest.raises(WorkflowError, match="lists within lists"):
        encode([value, value])
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(WorkflowError, match="lists within lists"):
        encode(endless)


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype([("a", "<i2"), ("b", ">f8", (2, 3)), ("c", [("d", "S3")])]),
        np.dtype([("a", "i1"), ("b", "f8")], align=True),
        np.dtype("V5"),
        np.dtype("f2"),
        np.dtype(np.longdouble),
    ],
    ids=str,
)
def test_structures_and_rare_types_of_arrays_come_back(dtype: np.dtype[Any]) -> None:
    array = np.frombuffer(np.arange(4 * dtype.itemsize, dtype=np.uint8).tobytes(), dtype)
    seen = decode(encode(array))
    wanted = array.astype(dtype.newbyteorder("<"))
    assert seen.dtype == wanted.dtype
    if dtype.names is None:
        assert seen.tobytes() == wanted.tobytes()
    else:
        assert all(seen[name].tobytes() == wanted[name].tobytes() for name in dtype.names)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4)[:, ::2, ::-1],
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.float64(1.5) * np.ones(()),
        np.empty((0, 3), "U0"),
    ],
    ids=["strided", "fortran", "big-endian", "no dimension", "empty"],
)
def test_an_array_comes_back_whatever_its_layout_in_memory(array: Any) -> None:
    array = np.asarray(array)
    assert is_same(decode(encode(array)), array)
    assert is_same(decode(encode([array]))[0], array)


class Elsewhere:
    """Keeps buffers by number, as shared memory does."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytearray] = {}

    def place(self, content: memoryview) -> bytes:
        reference = b"%d" % len(self.kept)
        self.kept[reference] = bytearray(content)
        return reference

    def fetch(self, reference: bytes) -> bytearray:
        return self.kept[reference]


def test_the_bytes_of_a_large_array_go_elsewhere_and_small_ones_stay() -> None:
    elsewhere = Elsewhere()
    small = np.arange(ARRAY_INLINE_BYTES_MAX - 1, dtype=np.uint8)
    large = np.arange(ARRAY_INLINE_BYTES_MAX, dtype=np.uint8)
    for value in (large, [small, {"large": large}]):
        elsewhere.kept.clear()
        data = encode(value, elsewhere.place)
        assert list(map(len, elsewhere.kept.values())) == [large.nbytes]
        assert len(data) < small.nbytes + 200
        assert is_same(decode(data, elsewhere.fetch), value)
        with pytest.raises(WorkflowError, match="elsewhere"):
            decode(data)


def test_a_fetched_array_is_a_view_of_its_buffer_and_an_inline_one_may_be_written_to() -> None:
    elsewhere = Elsewhere()
    data = encode(np.zeros(ARRAY_INLINE_BYTES_MAX, np.uint8), elsewhere.place)
    decode(data, elsewhere.fetch)[0] = 7
    assert elsewhere.kept[b"0"][0] == 7
    assert not decode(data, lambda reference: bytes(elsewhere.kept[reference])).flags.writeable
    inline = encode(np.zeros(4))
    decode(inline)[0] = 7
    assert is_same(decode(inline), np.zeros(4))


def test_a_buffer_of_another_length_than_the_array_is_refused() -> None:
    elsewhere = Elsewhere()
    data = encode(np.zeros(ARRAY_INLINE_BYTES_MAX, np.uint8), elsewhere.place)
    with pytest.raises(WorkflowError, match="65536"):
        decode(data, lambda _: bytes(5))


def test_a_value_beyond_the_limit_is_refused_before_it_is_copied() -> None:
    huge = np.broadcast_to(np.uint8(0), VALUE_BYTES_MAX + 1)
    with pytest.raises(WorkflowError, match=f"{VALUE_BYTES_MAX + 1} bytes"):
        encode(huge)


def test_plain_values_do_not_load_numpy() -> None:
    program = (
        "import sys; from flame.values import decode, encode; "
        "assert decode(encode([1, {'a': 2.5}])) == [1, {'a': 2.5}]; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
