"""Values as people and other programs see them: text in one line, cells of CSV; `flame.types.portable` has the JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from flame.types.portable import dump

_TEXT_CHARS_MAX: Final = 400  # of one value in a line for people; --json shows all of it
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


def as_cell(value: Any) -> str:
    """One cell: numbers and text as they are, nothing for None, JSON for the rest."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return repr(value).lower()
    return json.dumps(dump(value))


def is_array(value: Any) -> bool:
    """Whether it is one of numpy, which nothing here imports: whoever has an array has imported it."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def _of_array(array: Any) -> str:
    import numpy as np

    return np.array2string(array, threshold=12, edgeitems=3, separator=" ").replace("\n", "")
