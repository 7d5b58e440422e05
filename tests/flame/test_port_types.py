"""Types of ports: their one text, the values that fit, the outputs that fit an input."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any, Optional, Union

import numpy
import pytest

from flame.types import port_types
from protocol.errors import Code, WorkflowError


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (float, "float"),
        (int, "int"),
        (bool, "bool"),
        (str, "str"),
        (bytes, "bytes"),
        (list, "list"),
        (dict, "dict"),
        (Any, "any"),
        (None, "any"),
        (type(None), "None"),
        (float | None, "float | None"),
        (Optional[int], "int | None"),  # noqa: UP045
        (Union[None, int, str], "int | str | None"),  # noqa: UP007
        (float | Any, "any"),
        ("float", "float"),
        ("None|float", "float | None"),
        ("f8[2048]", "f8[2048]"),
        ("float64[ 2048 ]", "f8[2048]"),
        ("i4[*,3]", "i4[*, 3]"),
        ("complex128[...]", "c16[...]"),
        ("bool[2]", "b1[2]"),
        ("f8[3] | None", "f8[3] | None"),
    ],
)
def test_a_type_has_one_text_however_it_is_declared(declared: object, text: str) -> None:
    assert port_types.canonical(declared) == text
    assert port_types.canonical(text) == text


@pytest.mark.parametrize(
    "declared",
    ["", "f9[3]", "f8", "f8[]", "f8[-1]", "f8[3", "f8[3]]", "f8[x]", "f8[...,3]", "double", "float |", "U3[2]",
     complex, list[float], 3, [], object(), numpy.ndarray],
)  # fmt: skip
def test_what_is_no_type_is_refused_in_a_sentence(declared: object) -> None:
    with pytest.raises(WorkflowError, match="no type of a port") as caught:
        port_types.canonical(declared)
    assert caught.value.code == Code.PORT_WRONG


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("float", 0.75, 0.75),
        ("float", 3, 3.0),
        ("float", numpy.float32(0.5), 0.5),
        ("float", numpy.float64(0.1), 0.1),
        ("float", numpy.int64(7), 7.0),
        ("float", numpy.array(2.5), 2.5),
        ("int", 2**63, 2**63),
        ("int", numpy.uint64(2**63), 2**63),
        ("bool", numpy.bool_(True), True),
        ("str", numpy.str_("a"), "a"),
        ("bytes", bytearray(b"\x00\xff"), b"\x00\xff"),
        ("list", (1, 2), [1, 2]),
        ("dict", {"a": 1}, {"a": 1}),
        ("float | None", None, None),
        ("float | None", 2, 2.0),
        ("float | int", 2, 2),
        ("any", None, None),
    ],
)
def test_a_value_is_given_as_the_type_wants_it(text: str, value: Any, expected: Any) -> None:
    found = port_types.checker(text)(value)
    assert found == expected
    assert type(found) is type(expected)


def test_floats_pass_as_they_are() -> None:
    check = port_types.checker("float")
    for value in (math.nan, math.inf, -0.0):
        assert check(value) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int", 0.75),
        ("int", 3.0),
        ("int", True),
        ("int", numpy.float64(3.0)),
        ("int", numpy.datetime64(0, "ns")),
        ("float", True),
        ("float", numpy.bool_(True)),
        ("float", "1.0"),
        ("float", 2**53 + 1),
        ("float", 10**400),
        ("float", None),
        ("bool", "False"),
        ("bool", 0),
        ("str", b"a"),
        ("str", 3),
        ("bytes", "a"),
        ("list", "abc"),
        ("list", numpy.zeros(3)),
        ("dict", []),
        ("None", 0),
        ("float | None", "x"),
    ],
)
def test_a_value_of_another_type_is_refused(text: str, value: Any) -> None:
    with pytest.raises(WorkflowError) as caught:
        port_types.checker(text)(value)
    assert caught.value.code == Code.VALUE_WRONG
    assert text in str(caught.value)


def test_an_array_of_the_type_is_not_copied() -> None:
    array = numpy.arange(6.0).reshape(2, 3)
    for text in ("f8[2, 3]", "f8[*, 3]", "f8[...]"):
        assert port_types.checker(text)(array) is array


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("f8[3]", [1, 2.5, 3]),
        ("f8[2, 2]", [[1, 2], [3, 4]]),
        ("f4[2]", (0.1, 0.2)),
        ("i4[2]", [1, 2]),
        ("f8[*]", []),
        ("f8[2]", numpy.array([1, 2], dtype="i4")),
        ("f8[2]", numpy.array([1, 2], dtype=">f8")),
        ("c16[1]", [1 + 2j]),
        ("b1[2]", [True, False]),
    ],
)
def test_lists_and_smaller_arrays_become_arrays_of_the_type(text: str, value: Any) -> None:
    found = port_types.checker(text)(value)
    assert found.dtype == numpy.dtype("<" + text.split("[")[0])
    assert numpy.allclose(found, numpy.asarray(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("f8[3]", [1.0, 2.0]),
        ("f8[3]", [[1.0], [2.0, 3.0]]),
        ("f8[3]", 1.0),
        ("f8[3]", None),
        ("f8[2]", "ab"),
        ("f8[2]", ["a", "b"]),
        ("f8[*]", numpy.zeros((2, 2))),
        ("f4[2]", numpy.zeros(2)),
        ("i4[2]", [1.5, 2.5]),
        ("i4[1]", [2**40]),
        ("f4[1]", [1e39]),
        ("c8[1]", [1e39 + 0j]),
        ("u1[1]", [-1]),
        ("i4[2]", [True, False]),
        ("f8[1]", numpy.array([2**53 + 1])),
        ("f8[2]", numpy.array([1.0, 2.0], dtype=object)),
        ("f8[2]", numpy.ma.masked_array([1.0, 2.0], mask=[False, True])),
        ("f8[2]", numpy.array([1, 2], dtype="m8[s]")),
    ],
)
def test_an_array_that_would_lose_something_is_refused(text: str, value: Any) -> None:
    with pytest.raises(WorkflowError) as caught:
        port_types.checker(text)(value)
    assert caught.value.code == Code.VALUE_WRONG


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("float", "float"), ("int", "float"), ("any", "f8[3]"), ("str", "any"), ("float", "float | None"),
        ("int | None", "float | None"), ("f8[3]", "f8[*]"), ("f8[3]", "f8[...]"), ("i4[3]", "f8[3]"),
        ("f4[2, 3]", "c16[*, 3]"), ("u1[3]", "i2[3]"),
    ],
)  # fmt: skip
def test_an_output_fits_an_input_that_takes_each_of_its_values(source: str, target: str) -> None:
    assert port_types.fits(source, target) == ""


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("float", "int", "never becomes an int"),
        ("bool", "int", "a bool is no int"),
        ("bool", "float", "bool is no float"),
        ("float | None", "float", "None is no float"),
        ("float", "int | str", "float is none of"),
        ("list", "f8[3]", "list is no f8"),
        ("f8[1024]", "f8[2048]", "shape"),
        ("f8[*]", "f8[2048]", "shape"),
        ("f8[...]", "f8[3]", "open"),
        ("f8[3]", "f8[3, 3]", "axes"),
        ("f8[3]", "f4[3]", "without loss"),
        ("b1[3]", "i4[3]", "without loss"),
    ],
)
def test_an_output_that_does_not_fit_has_a_reason(source: str, target: str, reason: str) -> None:
    assert reason in port_types.fits(source, target)


def test_stubs_see_python_types() -> None:
    assert port_types.annotation("float | None") == "float | None"
    assert port_types.annotation("any") == "Any"
    assert port_types.annotation("f8[3]") == "NDArray[numpy.float64]"


def test_plain_types_do_not_load_numpy() -> None:
    code = (
        "import sys; from flame.types import port_types, units; port_types.checker('float')(1.0); units.check('V');"
        "port_types.canonical('f8[3]'); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
