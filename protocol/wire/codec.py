"""Bytes to plain values and records, and back. The only module that imports msgpack.

Plain values are None, bool, int, float, str, bytes, list and dict with str or bytes keys. One value has many
encodings in msgpack, so bytes that were signed or hashed are kept and passed on as received; nothing is
verified by encoding again. All functions are pure and may be called from any thread.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, TypeVar, overload

import msgpack
import msgspec

from protocol.errors import Code, FlottaError, LocalProtocolError, RemoteProtocolError
from protocol.limits import KIB, MSGPACK_ARRAY_ITEMS_MAX, MSGPACK_DEPTH_MAX, MSGPACK_MAP_ITEMS_MAX

T = TypeVar("T")

_SCALAR_BASES: Final = (type(None), bool, int, float, str, bytes)
_SCALARS: Final = frozenset(_SCALAR_BASES)
_SKIPPER: Final = msgspec.msgpack.Decoder(msgspec.Raw)
TYPED_FIRST_BYTES: Final = 4 * KIB  # below that, a body of another shape costs some three milliseconds at most
_BYTES_AS_BYTES: Final = (bytes,)  # msgspec would turn bytes into base64 text otherwise


def encode(value: Any) -> bytes:
    """Encode a plain value; `decode` reads whatever this writes.

    Raises LocalProtocolError for a value that the receiver would refuse: foreign types, integers outside 64
    bits, keys that are neither str nor bytes, nesting or containers beyond the limits.
    """
    try:
        if not isinstance(value, _SCALAR_BASES):
            _check_plain(value)
        data: bytes = msgpack.packb(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise LocalProtocolError(f"this value cannot be sent: {error}") from error
    return data


def decode(data: bytes, *, bytes_max: int) -> Any:
    """Decode exactly one plain value of at most `bytes_max` bytes.

    Raises RemoteProtocolError(BODY_MALFORMED), and nothing else, for any other input: bytes left over,
    duplicate keys, keys that are neither str nor bytes, extension types and timestamps, nesting or containers
    beyond the limits.
    """
    _check_bytes(data, bytes_max)
    try:
        value = _unpack(data)
        _check_depth(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise RemoteProtocolError(Code.BODY_MALFORMED, f"not a value of this wire: {error}") from error
    return value


def encode_record(record: msgspec.Struct) -> bytes:
    """Encode a frozen record. Equal records give equal bytes: fields in order of declaration, dicts in order
    of keys.

    Raises LocalProtocolError as `encode` does.
    """
    try:
        plain = msgspec.to_builtins(record, builtin_types=_BYTES_AS_BYTES, order="deterministic")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"this {type(record).__name__} cannot be sent: {error}") from error
    return encode(plain)


@overload
def decode_record(data: bytes, record_type: type[T], *, bytes_max: int) -> T: ...
@overload
def decode_record(data: bytes, record_type: Any, *, bytes_max: int) -> Any: ...
def decode_record(data: bytes, record_type: Any, *, bytes_max: int) -> Any:
    """Decode a record of this type, or of one member of a tagged union. No value is coerced; lists become
    tuples.

    Unknown fields are refused by records that derive from `Record`. Raises
    RemoteProtocolError(BODY_MALFORMED) only.
    """
    if len(data) > TYPED_FIRST_BYTES:
        _check_shape(data, record_type, bytes_max)
    plain = decode(data, bytes_max=bytes_max)
    try:
        return msgspec.convert(plain, record_type, builtin_types=_BYTES_AS_BYTES)
    except (msgspec.ValidationError, FlottaError) as error:  # the latter from a record that checks itself
        raise RemoteProtocolError(Code.BODY_MALFORMED, f"not the record expected here: {error}") from error


def _check_plain(value: Any, levels: int = MSGPACK_DEPTH_MAX) -> None:
    """Raises ValueError or TypeError for a value of ours that `decode` would refuse. Cheaper than reading the bytes
    again, which hold a product of INLINE_BYTES_MAX several times in a row of the store.
    """
    if isinstance(value, dict):
        if len(value) > MSGPACK_MAP_ITEMS_MAX or not all(isinstance(key, str | bytes) for key in value):
            raise ValueError(f"a map has at most {MSGPACK_MAP_ITEMS_MAX} keys, each str or bytes")
        inner: Any = value.values()
    elif isinstance(value, list | tuple):
        if len(value) > MSGPACK_ARRAY_ITEMS_MAX:
            raise ValueError(f"a list has at most {MSGPACK_ARRAY_ITEMS_MAX} items")
        inner = value
    else:
        raise TypeError(f"a {type(value).__name__} is no value of this wire")
    if levels == 0:
        raise ValueError(f"nested deeper than {MSGPACK_DEPTH_MAX}")
    for one in inner:
        if type(one) not in _SCALARS and not isinstance(one, _SCALAR_BASES):
            _check_plain(one, levels - 1)


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(
        data,
        strict_map_key=True,
        max_array_len=MSGPACK_ARRAY_ITEMS_MAX,
        max_map_len=MSGPACK_MAP_ITEMS_MAX,
        max_ext_len=0,
        object_pairs_hook=_no_duplicates,
        ext_hook=_no_extension,
    )


def _no_duplicates(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise ValueError("a key stands twice in one map")
    return items


def _no_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


def _check_bytes(data: bytes, bytes_max: int) -> None:
    """Refuse what is too long, and containers that claim more values than came, before anything is allocated for it.

    The parser reserves room for a claimed array at once: 64 KiB of nested claims cost it 70 MB. Reading for a Raw only
    steps over the bytes.
    """
    if len(data) > bytes_max:
        raise RemoteProtocolError(Code.BODY_MALFORMED, f"at most {bytes_max} bytes are read here, {len(data)} came")
    try:
        _SKIPPER.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RemoteProtocolError(Code.BODY_MALFORMED, f"not a value of this wire: {error}") from error


def _check_shape(data: bytes, record_type: Any, bytes_max: int) -> None:
    """Refuse a large body that is another record, or none, before all of its values are made.

    A MiB of empty lists costs 0.7 s to take apart; the typed reader stops at the first of them. It takes keys that
    stand twice, so what it lets pass is still read the careful way.
    """
    _check_bytes(data, bytes_max)
    try:
        _typed_decoder(record_type).decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError, FlottaError) as error:  # ValueError: a text is no UTF-8
        raise RemoteProtocolError(Code.BODY_MALFORMED, f"not the record expected here: {error}") from error


@cache
def _typed_decoder(record_type: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(record_type)


def _check_depth(value: Any, levels: int = MSGPACK_DEPTH_MAX) -> None:
    """Raises ValueError for a value nested deeper than so many containers."""
    if not isinstance(value, dict | list):
        return
    if levels == 0:
        raise ValueError(f"nested deeper than {MSGPACK_DEPTH_MAX}")
    for inner in value.values() if isinstance(value, dict) else value:
        if type(inner) not in _SCALARS:
            _check_depth(inner, levels - 1)
