"""Whether two values are the same to the last bit: 0.0 is not -0.0, 1 is not 1.0, and a NaN is that NaN."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np


def is_same(seen: Any, wanted: Any) -> bool:
    """`seen` is what should have come back for `wanted`: a tuple as a list, an array in little-endian."""
    if isinstance(wanted, np.ndarray):
        little = wanted.astype(wanted.dtype.newbyteorder("<"), order="C")
        return (
            type(seen) is np.ndarray
            and seen.dtype == little.dtype
            and seen.shape == little.shape
            and seen.tobytes() == little.tobytes()
        )
    if isinstance(wanted, list | tuple):
        return type(seen) is list and len(seen) == len(wanted) and all(map(is_same, seen, wanted))
    if isinstance(wanted, dict):
        return (
            type(seen) is dict
            and all(map(is_same, seen.keys(), wanted.keys()))
            and len(seen) == len(wanted)
            and all(map(is_same, seen.values(), wanted.values()))
        )
    if isinstance(wanted, float):
        return type(seen) is float and struct.pack("<d", seen) == struct.pack("<d", wanted)
    return type(seen) is type(wanted) and bool(seen == wanted)
