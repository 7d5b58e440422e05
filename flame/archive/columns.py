"""How the values of one stream stand in HDF5: as numbers, text or arrays where all of them are of one kind, so that any
program reads them, and as MessagePack otherwise. Either way they come back bit for bit.

| kind | values | datasets |
|---|---|---|
| `number` | all float, all int or all bool | one of float64, int64, uint64 or bool |
| `text` | all text, without NUL, which ends a text in HDF5 | variable-length UTF-8 |
| `bytes` | all bytes | variable-length uint8 |
| `array` | arrays of one type and shape | n, then shape |
| `ragged` | arrays of one type and number of dimensions | all elements in a row; `offsets` (n + 1), `shape` of each |
| `message-pack` | maps, lists, None, mixtures | variable-length uint8; `json`: the same to read, as far as JSON goes |
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import h5py
import msgspec
import numpy as np

from flame.limits import ARCHIVE_CHUNK_BYTES, ARCHIVE_GZIP
from flame.values import decode, encode

JSON_ELEMENTS_MAX: Final = 1_000  # of an array in the readable copy; a longer one is told by type and shape
_KIND: Final = "kind"
_NATIVE: Final = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}  # kinds of arrays that HDF5 has too, up to this size
_OPAQUE: Final = h5py.vlen_dtype(np.uint8)
_TEXT: Final = h5py.string_dtype("utf-8")


class Column(Protocol):
    """Datasets of one stream. `parts` are those beside the main one, by what they hold."""

    def append(self, values: Sequence[Any]) -> None: ...

    def read(self, first: int, last: int) -> list[Any]:
        """Rows `first` to before `last`."""


class Names(Protocol):
    """Gives the names of datasets beside the main one, each free in its group."""

    def __call__(self, part: str) -> str: ...


class Survey:
    """Looks at every value of a stream once, and says how they can stand."""

    def __init__(self) -> None:
        self.count = 0
        self._types: set[type] = set()
        self._low = self._high = 0
        self._has_nul = False
        self._dtypes: set[np.dtype[Any]] = set()
        self._shapes: set[tuple[int, ...]] = set()  # two at most: beyond, only the dimensions matter
        self._dimensions: set[int] = set()

    def see(self, value: Any) -> None:
        kind = type(value)
        self.count += 1
        self._types.add(kind)
        if kind is int:
            self._low = min(self._low, value)
            self._high = max(self._high, value)
        elif kind is str:
            self._has_nul = self._has_nul or "\0" in value
        elif kind is np.ndarray:
            self._dtypes.add(value.dtype)
            self._dimensions.add(value.ndim)
            if len(self._shapes) < 2:
                self._shapes.add(value.shape)

    def make(self, group: h5py.Group, name: str, names: Names) -> Column:
        """Empty datasets for values like those seen."""
        if self._types <= {float}:
            return Numbers.make(group, name, np.dtype("f8"))
        if self._types == {bool}:
            return Numbers.make(group, name, np.dtype("?"))
        if self._types == {int} and (self._high < 2**63 or self._low >= 0):
            return Numbers.make(group, name, np.dtype("i8" if self._high < 2**63 else "u8"))
        if self._types == {str} and not self._has_nul:
            return Texts.make(group, name)
        if self._types == {bytes}:
            return Opaque.make(group, name)
        if self._types == {np.ndarray} and len(self._dtypes) == len(self._dimensions) == 1:
            return self._make_arrays(group, name, names)
        return Messages.make(group, name, names)

    def _make_arrays(self, group: h5py.Group, name: str, names: Names) -> Column:
        (dtype,), (dimensions,) = self._dtypes, self._dimensions
        if dtype.itemsize > _NATIVE.get(dtype.kind, 0):
            return Messages.make(group, name, names)
        if len(self._shapes) == 1 and all(next(iter(self._shapes))):
            return Arrays.make(group, name, dtype, next(iter(self._shapes)))
        return Ragged.make(group, name, names, dtype, dimensions)


def open_column(group: h5py.Group, name: str) -> Column:
    """The datasets that `Survey.make` made. Raises KeyError for what is no column."""
    main = group[name]
    match main.attrs[_KIND]:
        case "number":
            return Numbers(main)
        case "text":
            return Texts(main)
        case "bytes":
            return Opaque(main)
        case "array":
            return Arrays(main)
        case "ragged":
            return Ragged(main, group[main.attrs["offsets"]], group[main.attrs["shape"]])
        case "message-pack":
            return Messages(main, group[main.attrs["json"]])
        case kind:
            raise KeyError(f"{kind!r} is no kind of a column")


class Numbers:
    def __init__(self, main: h5py.Dataset) -> None:
        self._main = main

    @classmethod
    def make(cls, group: h5py.Group, name: str, dtype: np.dtype[Any]) -> Numbers:
        return cls(_create(group, name, "number", dtype))

    def append(self, values: Sequence[Any]) -> None:
        grow(self._main, np.array(values, self._main.dtype))

    def read(self, first: int, last: int) -> list[Any]:
        numbers: list[Any] = self._main[first:last].tolist()
        return numbers


class Texts:
    def __init__(self, main: h5py.Dataset) -> None:
        self._main = main

    @classmethod
    def make(cls, group: h5py.Group, name: str) -> Texts:
        return cls(_create(group, name, "text", _TEXT))

    def append(self, values: Sequence[str]) -> None:
        grow(self._main, np.array([value.encode() for value in values], _TEXT))

    def read(self, first: int, last: int) -> list[str]:
        return [value.decode() for value in self._main[first:last]]


class Opaque:
    def __init__(self, main: h5py.Dataset) -> None:
        self._main = main

    @classmethod
    def make(cls, group: h5py.Group, name: str) -> Opaque:
        return cls(_create(group, name, "bytes", _OPAQUE))

    def append(self, values: Sequence[bytes]) -> None:
        grow(self._main, _objects([np.frombuffer(value, np.uint8) for value in values]))

    def read(self, first: int, last: int) -> list[bytes]:
        return [value.tobytes() for value in self._main[first:last]]


class Arrays:
    def __init__(self, main: h5py.Dataset) -> None:
        self._main = main

    @classmethod
    def make(cls, group: h5py.Group, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Arrays:
        return cls(_create(group, name, "array", dtype, shape))

    def append(self, values: Sequence[np.ndarray[Any, Any]]) -> None:
        grow(self._main, np.stack(values))

    def read(self, first: int, last: int) -> list[Any]:
        return [np.array(row) for row in self._main[first:last]]


class Ragged:
    def __init__(self, main: h5py.Dataset, offsets: h5py.Dataset, shapes: h5py.Dataset) -> None:
        self._main = main
        self._offsets = offsets
        self._shapes = shapes

    @classmethod
    def make(cls, group: h5py.Group, name: str, names: Names, dtype: np.dtype[Any], dimensions: int) -> Ragged:
        main = _create(group, name, "ragged", dtype)
        offsets = _part(group, main, "offsets", names, np.dtype("i8"))
        shapes = _part(group, main, "shape", names, np.dtype("i8"), (dimensions,))
        grow(offsets, np.zeros(1, "i8"))
        return cls(main, offsets, shapes)

    def append(self, values: Sequence[np.ndarray[Any, Any]]) -> None:
        sizes = itertools.accumulate((value.size for value in values), initial=len(self._main))
        grow(self._offsets, np.array(list(sizes)[1:], "i8"))
        grow(self._shapes, np.array([value.shape for value in values], "i8"))
        grow(self._main, np.concatenate([value.reshape(-1) for value in values]))

    def read(self, first: int, last: int) -> list[Any]:
        if first >= last:
            return []
        offsets = self._offsets[first : last + 1]
        elements = self._main[offsets[0] : offsets[-1]]
        ends = (offsets - offsets[0]).tolist()
        shapes = self._shapes[first:last]
        return [
            elements[begin:end].reshape(shape).copy() for begin, end, shape in zip(ends, ends[1:], shapes, strict=False)
        ]


class Messages:
    def __init__(self, main: h5py.Dataset, readable: h5py.Dataset) -> None:
        self._main = main
        self._readable = readable

    @classmethod
    def make(cls, group: h5py.Group, name: str, names: Names) -> Messages:
        main = _create(group, name, "message-pack", _OPAQUE)
        return cls(main, _part(group, main, "json", names, _TEXT))

    def append(self, values: Sequence[Any]) -> None:
        grow(self._main, _objects([np.frombuffer(encode(value), np.uint8) for value in values]))
        grow(self._readable, np.array([msgspec.json.encode(_readable(value)) for value in values], _TEXT))

    def read(self, first: int, last: int) -> list[Any]:
        return [decode(value.tobytes()) for value in self._main[first:last]]


def grow(dataset: h5py.Dataset, rows: np.ndarray[Any, Any]) -> None:
    """Add rows at the end. Directly, since an assignment takes rows of one length for an array of two dimensions."""
    count = len(dataset)
    dataset.resize(count + len(rows), axis=0)
    if rows.size:
        dataset.write_direct(np.ascontiguousarray(rows), dest_sel=np.s_[count : count + len(rows)])


def blocks(first: int, last: int, rows: int) -> Iterator[tuple[int, int]]:
    """Stretches of at most so many rows, from `first` to before `last`."""
    for begin in range(first, last, rows):
        yield begin, min(begin + rows, last)


def create(group: h5py.Group, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> h5py.Dataset:
    """An empty dataset that grows. Compressed by what every HDF5 library reads; not where values have any length, which
    HDF5 keeps beside the dataset, out of reach of filters.
    """
    row_bytes = max(1, dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
    rows = max(1, ARCHIVE_CHUNK_BYTES // row_bytes)
    chunks = (rows, *(max(1, size) for size in shape))
    filters = {} if dtype.hasobject else {"compression": "gzip", "compression_opts": ARCHIVE_GZIP, "shuffle": True}
    return group.create_dataset(name, shape=(0, *shape), maxshape=(None, *shape), dtype=dtype, chunks=chunks, **filters)


def _create(group: h5py.Group, name: str, kind: str, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> h5py.Dataset:
    dataset = create(group, name, dtype, shape)
    dataset.attrs[_KIND] = kind
    return dataset


def _part(
    group: h5py.Group, main: h5py.Dataset, part: str, names: Names, dtype: np.dtype[Any], shape: tuple[int, ...] = ()
) -> h5py.Dataset:
    name = names(part)
    main.attrs[part] = name
    return create(group, name, dtype, shape)


def _objects(items: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """An array of arrays; numpy by itself would make one of two dimensions where they are of one length."""
    array = np.empty(len(items), _OPAQUE)
    for i, item in enumerate(items):
        array[i] = item
    return array


def _readable(value: Any) -> Any:
    """For people and other programs. In JSON a NaN becomes null, bytes base64, a long array its type and shape."""
    if isinstance(value, np.ndarray):
        if value.size <= JSON_ELEMENTS_MAX and value.dtype.kind in "biufSU":
            return value.tolist()
        return {"dtype": str(value.dtype), "shape": value.shape}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if isinstance(value, dict):
        return {key if type(key) is str else repr(key): _readable(item) for key, item in value.items()}
    return value
