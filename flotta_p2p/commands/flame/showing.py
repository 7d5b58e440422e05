"""Values as people and other programs see them: text in one line, JSON that loses nothing, cells of CSV.

JSON knows neither NaN nor bytes nor arrays, so these are maps with one key that begins with `$`:

    {"$float": "nan"}       also "inf" and "-inf"
    {"$bytes": "AP8="}      base64
    {"$array": "<f8", "shape": [2], "values": [0.5, 1.5]}    "base64" in place of "values" for what is no number
    {"$map": [[1, "a"]]}    a map whose keys are not all text, or one of which begins with `$`
"""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_TEXT_CHARS_MAX: Final = 400  # of one value in a line for people; --json shows all of it
_LISTED_KINDS: Final = "biuf"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def as_time(time_ns: int) -> str:
    """UTC to the nanosecond, as a selector takes it."""
    return f"{_EPOCH + timedelta(seconds=time_ns // 10**9):%Y-%m-%dT%H:%M:%S}.{time_ns % 10**9:09d}Z"


def as_text(value: Any) -> str:
    """One line for people: as Python would write it, long values with their middle left out."""
    text = f"{value.dtype.str[1:]}{list(value.shape)} {_of_array(value)}" if is_array(value) else repr(value)
    if len(text) <= _TEXT_CHARS_MAX:
        return text
    half = _TEXT_CHARS_MAX // 2
    return f"{text[:half]} … {text[-half:]}"


def as_json(value: Any) -> Any:
    """What `json.dumps` writes as strict JSON, and from which the value can be made again, bit for bit."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: as_json(item) for key, item in value.items()}
        return {"$map": [[as_json(key), as_json(item)] for key, item in value.items()]}
    return _json_of_array(value) if is_array(value) else value


def as_cell(value: Any) -> str:
    """One cell: numbers and text as they are, nothing for None, JSON for the rest."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return repr(value).lower()
    return json.dumps(as_json(value))


def is_array(value: Any) -> bool:
    """Whether it is one of numpy, which nothing here imports: whoever has an array has imported it."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _of_array(array: Any) -> str:
    import numpy as np

    return np.array2string(array, threshold=12, edgeitems=3, separator=" ").replace("\n", "")


def _json_of_array(array: Any) -> dict[str, Any]:
    whole = {"$array": array.dtype.str, "shape": list(array.shape)}
    if array.dtype.names is not None:
        whole["fields"] = array.dtype.descr
    if array.dtype.kind in _LISTED_KINDS:
        return {**whole, "values": as_json(array.tolist())}
    return {**whole, "base64": base64.b64encode(array.tobytes()).decode("ascii")}
