"""One value as bytes and back: what travels on an edge, what a journal keeps, what an archive falls back on.

MessagePack, bit for bit: None, bool, integers from -2^63 to 2^64-1, floats with NaN, infinities and -0.0, text, bytes,
lists, maps, and numpy arrays at any depth. What has another look and the same content comes back in the plain one: a
tuple as a list, a numpy scalar as a Python number, a bytearray as bytes, an array in the order of C, little-endian.
Everything else is refused rather than turned into something like it.

An array is an extension, `[dtype, shape, bytes]`, or `[dtype, shape, reference]` where its bytes lie elsewhere. `dtype`
is numpy's text, or its description of a structure. numpy is imported when the first array appears, not before.
"""

from __future__ import annotations

import functools
import math
import re
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flame.limits import ARRAY_INLINE_BYTES_MAX, DTYPES_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX
from protocol.errors import Code, WorkflowError

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Buffer

Place = Callable[[memoryview], bytes]
Fetch = Callable[[bytes], "Buffer"]

_ARRAY: Final = 1
_ARRAY_ELSEWHERE: Final = 2
_SCALARS: Final = frozenset({float, int, bool, str, bytes, type(None)})
_KEPT_SCALARS: Final = "biufSU"  # kinds of numpy scalars with a Python type of the same content
_KEPT_ARRAYS: Final = "biufcmMSUV"
_DTYPE_NAME: Final = re.compile(r"[<>=|]?[A-Za-z?]+[0-9]*(\[([1-9][0-9]*)?[A-Za-z]+\])?", re.ASCII)  # <f8, M8[25us]

_BYTES_HEAD: Final = struct.Struct(">BI")
_EXTENSION_HEAD: Final = struct.Struct(">BIB")


def encode(value: Any, place: Place | None = None) -> bytes:
    """`value` as MessagePack. With `place`, the bytes of each array of at least ARRAY_INLINE_BYTES_MAX go there, and
    the reference that it answers is kept instead.

    Raises WorkflowError(VALUE_WRONG), naming the type that cannot be kept.
    """
    try:
        if type(value) not in _SCALARS:
            value = _plain(value, place, VALUE_DEPTH_MAX)
        data = value.encoded() if type(value) is _Extension else _encoder.encode(value)
    except (OverflowError, UnicodeEncodeError) as error:
        raise _wrong(f"a value cannot be kept: {error}") from error
    if len(data) > VALUE_BYTES_MAX:
        raise _wrong(f"a value has {len(data)} bytes; at most {VALUE_BYTES_MAX} can be kept", "set smaller pieces")
    return data


def decode(data: Buffer, fetch: Fetch | None = None) -> Any:
    """The value that `encode` was given. `fetch` gives the buffer of a reference.

    An array that lies in `data` is copied out of it and may be written to; one that `fetch` gives is a view of that
    buffer, and as writable as it. Raises WorkflowError(VALUE_WRONG) for bytes that are no value.
    """
    try:
        try:
            return _decoder.decode(data)
        except _ElsewhereError:
            if fetch is None:
                raise
            return msgspec.msgpack.Decoder(ext_hook=lambda code, body: _array(code, body, fetch)).decode(data)
    except (msgspec.DecodeError, _ElsewhereError, ValueError, TypeError, RecursionError, SyntaxError) as error:
        raise _wrong(f"these bytes are no value: {str(error) or 'its array lies elsewhere'}") from error


def _plain(value: Any, place: Place | None, depth: int) -> Any:
    """The same in types that the encoder keeps as they are. A list of plain values is not built anew."""
    if type(value) in _SCALARS:
        return value
    if depth == 0:
        raise _wrong(f"a value has lists within lists beyond {VALUE_DEPTH_MAX} levels", "flatten it")
    if isinstance(value, list | tuple):
        if _SCALARS.issuperset(map(type, value)):
            return value
        return [_plain(item, place, depth - 1) for item in value]
    if isinstance(value, dict):
        if _SCALARS.issuperset(map(type, value)) and _SCALARS.issuperset(map(type, value.values())):
            return value
        return {_key(key): _plain(item, place, depth - 1) for key, item in value.items()}
    if type(value) in (bytearray, memoryview):
        return bytes(value)
    return _from_numpy(value, place)


def _key(key: Any) -> Any:
    key = key if type(key) in _SCALARS else _from_numpy(key, None)
    if type(key) in _SCALARS:
        return key
    raise _wrong("an array cannot be a key of a map", "use text")


def _from_numpy(value: Any, place: Place | None) -> Any:
    numpy = sys.modules.get("numpy")  # who has a value of numpy has imported it
    if numpy is not None:
        if type(value) in (numpy.ndarray, numpy.memmap):
            return _extension(value, place)
        if isinstance(value, numpy.generic) and value.dtype.kind in _KEPT_SCALARS:
            scalar = value.item()
            if type(scalar) in _SCALARS:
                return scalar
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    raise _wrong(
        f"a value of type {name} cannot be kept",
        "make it numbers, text, bytes, lists, maps or numpy arrays of numbers",
    )


class _Extension:
    """An array on its way into bytes. Its pieces are joined once: a copy of 40 MB takes as long as all the rest."""

    def __init__(self, code: int, dtype: Any, shape: tuple[int, ...], held: memoryview | bytes) -> None:
        head = b"\x93" + _encoder.encode(dtype) + _encoder.encode(shape) + _BYTES_HEAD.pack(0xC6, len(held))
        self.code = code
        self.body = (head, held)
        self.length = len(head) + len(held)

    def encoded(self) -> bytes:
        return b"".join((_EXTENSION_HEAD.pack(0xC9, self.length, self.code), *self.body))


def _nested(extension: Any) -> msgspec.msgpack.Ext:
    if type(extension) is not _Extension:
        raise TypeError(f"{type(extension)} is not plain")
    return msgspec.msgpack.Ext(extension.code, b"".join(extension.body))


def _extension(array: np.ndarray[Any, Any], place: Place | None) -> _Extension:
    import numpy as np

    description, little = _described(array.dtype)
    if array.nbytes > VALUE_BYTES_MAX:
        raise _wrong(f"an array has {array.nbytes} bytes; at most {VALUE_BYTES_MAX} can be kept", "set smaller pieces")
    array = np.asarray(array, dtype=little, order="C")
    content = array.reshape(-1).view(np.uint8).data if array.nbytes else memoryview(b"")
    if place is not None and array.nbytes >= ARRAY_INLINE_BYTES_MAX:
        return _Extension(_ARRAY_ELSEWHERE, description, array.shape, place(content))
    return _Extension(_ARRAY, description, array.shape, content)


@functools.lru_cache(maxsize=DTYPES_MAX)
def _described(dtype: np.dtype[Any]) -> tuple[Any, np.dtype[Any]]:
    """A description, and the type in little-endian that `_dtype` makes of it."""
    try:
        little = dtype.newbyteorder("<")
        description: Any = little.descr if little.names is not None else little.str
        if dtype.kind in _KEPT_ARRAYS and not dtype.hasobject and _dtype(description) == little:
            return description, little
    except (TypeError, ValueError):
        pass
    raise _wrong(f"an array of type {dtype} cannot be kept", "make it an array of numbers, times, text or bytes")


def _dtype(description: Any) -> np.dtype[Any]:
    import numpy as np
    from numpy.lib import format as numpy_format

    if isinstance(description, str):
        return named_dtype(description)
    return np.dtype(numpy_format.descr_to_dtype(_fields(description)))


def named_dtype(name: str) -> np.dtype[Any]:
    """The type that a text from elsewhere names. Raises ValueError, TypeError: numpy is not given just any text, since
    "m8[s/0]" ends the process.
    """
    import numpy as np

    return np.dtype(_checked_name(name))


def _checked_name(name: str) -> str:
    if not _DTYPE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no type of an array")
    return name


def _fields(description: Any) -> Any:
    if isinstance(description, str):
        return _checked_name(description)
    return [(name, _fields(kind), *map(tuple, shape)) for name, kind, *shape in description]


class _ElsewhereError(Exception):
    """The bytes of an array are not in this message."""


def _array(code: int, body: memoryview, fetch: Fetch | None) -> np.ndarray[Any, Any]:
    import numpy as np

    if code not in (_ARRAY, _ARRAY_ELSEWHERE):
        raise ValueError(f"extension {code} is unknown")
    description, shape, held = _array_decoder.decode(body)
    dtype = _dtype(description)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("an array of objects, or of a negative size")
    if code == _ARRAY:
        content = memoryview(bytearray(held))
    elif fetch is None:
        raise _ElsewhereError
    else:
        content = memoryview(fetch(bytes(held)))
    wanted = math.prod(shape) * dtype.itemsize
    if content.nbytes != wanted:
        raise ValueError(f"an array of {wanted} bytes has {content.nbytes}")
    array: np.ndarray[Any, Any] = np.empty(0, dtype) if wanted == 0 else np.frombuffer(content, dtype)
    return array.reshape(shape)


def _array_inline(code: int, body: memoryview) -> np.ndarray[Any, Any]:
    return _array(code, body, None)


def _wrong(sentence: str, next_step: str = "") -> WorkflowError:
    return WorkflowError(Code.VALUE_WRONG, sentence, next_step=next_step)


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=_nested)
_decoder: Final = msgspec.msgpack.Decoder(ext_hook=_array_inline)
_array_decoder: Final = msgspec.msgpack.Decoder(tuple[str | list[Any], tuple[int, ...], memoryview])
