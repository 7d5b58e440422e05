"""Types of arrays: dtype and shape, `f8[2048]`, `i4[*, 3]`, `c16[...]`. Used by `flame.types.port_types` alone."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Final

import msgspec

from protocol.errors import Code, WorkflowError

_TEXT: Final = re.compile(r"([a-z]+\d*)\s*\[([^\[\]]*)\]", re.ASCII)
_NAMES: Final = {
    "b1": "bool_",
    "i1": "int8",
    "i2": "int16",
    "i4": "int32",
    "i8": "int64",
    "u1": "uint8",
    "u2": "uint16",
    "u4": "uint32",
    "u8": "uint64",
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "c8": "complex64",
    "c16": "complex128",
}
_CODES: Final = {**{name: code for code, name in _NAMES.items()}, "bool": "b1", "int": "i8", "float": "f8"}
_LENGTH: Final = re.compile(r"0|[1-9]\d{0,11}", re.ASCII)
_AXES_MAX: Final = 32  # numpy 1 knows no more
_EXACT_MAX: Final = 2**53  # up to here an f8 holds every int
ANY_LENGTH: Final = -1


class ArrayType(msgspec.Struct, frozen=True, dict=True):
    """`shape`: lengths, ANY_LENGTH for `*`; None for any number of axes."""

    dtype: str
    shape: tuple[int, ...] | None

    @classmethod
    def parse(cls, text: str) -> ArrayType | None:
        """None for a text that is no type of an array."""
        match = _TEXT.fullmatch(text)
        dtype = _CODES.get(match[1], match[1]) if match else ""
        if match is None or dtype not in _NAMES:
            return None
        lengths = [part.strip() for part in match[2].split(",")]
        if lengths == ["..."]:
            return cls(dtype, None)
        if len(lengths) > _AXES_MAX or not all(part == "*" or _LENGTH.fullmatch(part) for part in lengths):
            return None
        return cls(dtype, tuple(ANY_LENGTH if part == "*" else int(part) for part in lengths))

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype}[...]"
        return f"{self.dtype}[{', '.join('*' if length < 0 else str(length) for length in self.shape)}]"

    @property
    def numpy_name(self) -> str:
        return _NAMES[self.dtype]

    def fits(self, target: ArrayType) -> str:
        """ "" when each array of this type fits `target`, else why not."""
        if not _widens(self.dtype, target.dtype):
            return f"{self.dtype} does not become {target.dtype} without loss"
        if target.shape is None:
            return ""
        if self.shape is None:
            return f"the number of axes of {self} is open"
        if len(self.shape) != len(target.shape):
            return f"{self} has {len(self.shape)} axes, {target} has {len(target.shape)}"
        for given, wanted in zip(self.shape, target.shape, strict=True):
            if wanted not in (given, ANY_LENGTH):
                return f"the shape of {self} is not that of {target}"
        return ""

    def check(self, value: Any) -> Any:
        """The value as array of this type. Raises WorkflowError(VALUE_WRONG)."""
        import numpy

        if type(value) is not numpy.ndarray or value.dtype != self._dtype:
            value = self._converted(value)
        if not self._has_shape(value.shape):
            self._refuse(value)
        return value

    @cached_property
    def _dtype(self) -> Any:
        import numpy

        return numpy.dtype(f"<{self.dtype}")

    def _has_shape(self, shape: tuple[int, ...]) -> bool:
        wanted = self.shape
        if wanted is None or wanted == shape:
            return True
        return len(wanted) == len(shape) and all(
            length in (have, ANY_LENGTH) for length, have in zip(wanted, shape, strict=True)
        )

    def _converted(self, value: Any) -> Any:
        import numpy

        if isinstance(value, numpy.ma.MaskedArray):
            self._refuse(value, ": a masked array would lose its mask")
        listed = isinstance(value, list | tuple)
        if not listed and not isinstance(value, numpy.ndarray | numpy.generic):
            self._refuse(value)
        try:
            array = numpy.asarray(value)
        except (ValueError, OverflowError, TypeError):
            self._refuse(value, ": its rows differ in length or kind")
        given = f"{array.dtype.kind}{array.dtype.itemsize}"
        if array.size == 0 and listed:
            return array.astype(self._dtype)
        if given not in _NAMES or not (_widens(given, self.dtype) or (listed and _narrows(given, self.dtype))):
            self._refuse(value)
        return self._cast(array, value)

    def _cast(self, array: Any, value: Any) -> Any:
        """An f8 does not hold all ints, a smaller int still fewer; a smaller float makes large numbers infinite."""
        import numpy

        if array.dtype.kind in "iu" and array.size:
            least, most = int(array.min()), int(array.max())
            if self.dtype[0] in "fc":
                fits = max(-least, most) <= _EXACT_MAX
            else:
                info = numpy.iinfo(self._dtype)
                fits = info.min <= least and most <= info.max
            if not fits:
                self._refuse(value, f": {self.dtype} cannot hold all its digits")
        try:
            with numpy.errstate(over="raise"):
                return array.astype(self._dtype)
        except FloatingPointError:
            self._refuse(value, f": {self.dtype} cannot hold numbers so large")

    def _refuse(self, value: Any, why: str = "") -> Any:
        from flame.types.port_types import described

        raise WorkflowError(
            Code.VALUE_WRONG,
            f"{described(value)} is no {self}{why}",
            next_step=f"give an array of the type {self}, for instance by .astype({self.dtype!r}) or .reshape()",
        )


def _widens(given: str, wanted: str) -> bool:
    """Whether each value of the dtype `given` is one of `wanted`; 64-bit ints count as floats, as numpy has it."""
    kind, size, to_kind, to_size = given[0], int(given[1:]), wanted[0], int(wanted[1:])
    if given == wanted:
        return True
    match kind, to_kind:
        case ("i", "i") | ("u", "u") | ("f", "f") | ("c", "c"):
            return size <= to_size
        case ("u", "i"):
            return size < to_size
        case ("i" | "u", "f"):
            return to_size == 8 or size < to_size
        case ("i" | "u", "c"):
            return to_size == 16 or size < to_size // 2
        case ("f", "c"):
            return size <= to_size // 2
    return False


def _narrows(given: str, wanted: str) -> bool:
    """What a list holds is Python's, so it may become a smaller dtype of its kind."""
    kind, to_kind = given[0], wanted[0]
    return kind == to_kind or (kind in "iu" and to_kind in "iufc") or (kind == "f" and to_kind == "c")
