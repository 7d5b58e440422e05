"""Values as JSON: what defaults of ports, parameters in run.json, and parameters.json hold.

What JSON has stands as it is. The rest is a map with one key that begins with `$`:

    {"$float": "nan"}   "inf", "-inf"
    {"$bytes": "AP8="}                   base64
    {"$array": ["<f8", [2], [0.5, 1.5]]} dtype, shape, numbers
    {"$array": "xwQ…"}                   base64 of what `flame.values` makes of any other array
    {"$dict": [[1, "one"], ["$x", 2]]}   keys that are no text, or begin with `$`

A value comes back bit for bit, save that tuples come back as lists, as everywhere in flame.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any, Final, NoReturn

from flame import values
from flame.limits import VALUE_DEPTH_MAX
from flame.types.port_types import python_scalar
from protocol.errors import Code, WorkflowError

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1  # what MessagePack holds
_LISTED_KINDS: Final = "biuf"
_LISTED_BYTES_MAX: Final = 8  # of one number: a longer float is more than Python's


def dump(value: Any) -> Any:
    """`value` as what JSON can hold. Raises WorkflowError(VALUE_WRONG) that names the type which cannot be kept."""
    return _dump(value, 0)


def load(value: Any) -> Any:
    """The value that `dump` was given. Raises WorkflowError(VALUE_WRONG) for a `$` form that is none."""
    if isinstance(value, list):
        return [load(item) for item in value]
    if not isinstance(value, dict):
        return value
    mark = next(iter(value), "")
    if len(value) == 1 and isinstance(mark, str) and mark.startswith("$"):
        return _load_marked(mark, value[mark])
    return {key: load(item) for key, item in value.items()}


def _dump(value: Any, depth: int) -> Any:
    if depth > VALUE_DEPTH_MAX:
        _refuse(f"it is nested deeper than {VALUE_DEPTH_MAX}")
    value = python_scalar(value)
    match value:
        case None | bool():
            return value
        case str():
            return _dump_text(str(value))
        case int():
            return int(value) if _INT_MIN <= value <= _INT_MAX else _refuse(f"{value} needs more than 64 bits")
        case float():
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        case bytes() | bytearray() | memoryview():
            return {"$bytes": base64.b64encode(value).decode("ascii")}
        case list() | tuple():
            return [_dump(item, depth + 1) for item in value]
        case dict():
            return _dump_dict(value, depth + 1)
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        return {"$array": _dump_array(value)}
    return _refuse(f"{type(value).__name__} is no type that flame keeps")


def _dump_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse("a text holds half of a character")
    return text


def _dump_array(array: Any) -> Any:
    """Numbers, which people can read and write, unless these would not give every bit back, as of a NaN with a sign."""
    if array.dtype.kind in _LISTED_KINDS and array.dtype.itemsize <= _LISTED_BYTES_MAX:
        little = array.astype(array.dtype.newbyteorder("<"), order="C")
        listed = [little.dtype.str, list(little.shape), _dump(little.reshape(-1).tolist(), 0)]
        if _load_array(listed).tobytes() == little.tobytes():
            return listed
    return base64.b64encode(values.encode(array)).decode("ascii")


def _dump_dict(value: dict[Any, Any], depth: int) -> Any:
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _dump(item, depth) for key, item in value.items()}
    return {"$dict": [[_dump(key, depth), _dump(item, depth)] for key, item in value.items()]}


def _load_marked(mark: str, held: Any) -> Any:
    loader = _LOADERS.get(mark)
    if loader is None:
        _refuse(f"{mark!r} is none of {', '.join(_LOADERS)}")
    try:
        return loader(held)
    except (ValueError, TypeError, KeyError, OverflowError, binascii.Error):
        return _refuse(f"what stands behind {mark!r} is malformed")


def _load_float(held: Any) -> float:
    return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[held]


def _load_bytes(held: Any) -> bytes:
    return base64.b64decode(held, validate=True)


def _load_array(held: Any) -> Any:
    if isinstance(held, str):
        return values.decode(_load_bytes(held))
    import numpy as np

    name, shape, numbers = held
    dtype = values.named_dtype(name)
    if dtype.kind not in _LISTED_KINDS:
        raise ValueError(name)
    return np.array(load(numbers), dtype).reshape(shape)


def _load_dict(held: Any) -> dict[Any, Any]:
    return {load(key): load(item) for key, item in held}


_LOADERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$float": _load_float,
    "$bytes": _load_bytes,
    "$array": _load_array,
    "$dict": _load_dict,
}


def _refuse(why: str) -> NoReturn:
    raise WorkflowError(
        Code.VALUE_WRONG,
        f"the value cannot be kept: {why}",
        next_step="give None, a bool, int, float, str, bytes, list, dict or an array of numbers",
    )
