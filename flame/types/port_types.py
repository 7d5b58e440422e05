"""Types of ports: their canonical text, whether a value fits, whether an output fits an input.

    any  None  bool  int  float  str  bytes  list  dict
    f8[2048]  i4[*, 3]  c16[...]        arrays: dtype, then lengths; `*` is any length, `...` any number of axes
    float | None                        one of several

A type comes from the declaration only. A bool is no int, an int may stand for a float, a float never for an int.
`any` switches the check off, at the end that declares it. numpy is imported when an array type first judges a value.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from protocol.errors import Code, WorkflowError

if TYPE_CHECKING:
    from flame.types.array_types import ArrayType

Checker = Callable[[Any], Any]

ANY: Final = "any"
_EXACT_MAX: Final = 2**53  # up to here a float holds every int

_OF_CLASSES: Final[dict[Any, str]] = {
    None: ANY,  # nothing was declared
    Any: ANY,
    object: ANY,
    type(None): "None",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    list: "list",
    dict: "dict",
}
_PLAIN: Final = frozenset(_OF_CLASSES.values())
_SPLIT: Final = re.compile(r"\|(?![^\[]*\])")  # a bar that stands outside of brackets


def canonical(declared: object) -> str:
    """The one text of a type that was declared as a Python type or as text. Raises WorkflowError(PORT_WRONG)."""
    if isinstance(declared, str):
        return _joined([_canonical_text(part.strip()) for part in _SPLIT.split(declared)])
    if isinstance(declared, types.UnionType) or typing.get_origin(declared) is typing.Union:
        return _joined([canonical(part) for part in typing.get_args(declared)])
    try:
        return _OF_CLASSES[declared]
    except (KeyError, TypeError):
        shown = getattr(declared, "__name__", None) if isinstance(declared, type) else None
        return _no_type(shown or str(declared))


def checker(text: str) -> Checker:
    """A function that gives a value as the canonical type `text` wants it: an int as float for a float, scalars of
    numpy as Python's, a list as array for an array. It raises WorkflowError(VALUE_WRONG) for any other value.
    """
    members = text.split(" | ")
    if len(members) == 1:
        return _checker(text)
    return _one_of(text, [_checker(member) for member in members])


def fits(source: str, target: str) -> str:
    """ "" when every value of the type `source` fits `target`; else the reason, half a sentence. Canonical texts."""
    if ANY in (source, target):
        return ""
    wanted = target.split(" | ")
    for given in source.split(" | "):
        reasons = [_fits(given, member) for member in wanted]
        if all(reasons):
            return reasons[0] if len(reasons) == 1 else f"{given} is none of {target}"
    return ""


def annotation(text: str) -> str:
    """The type as a Python annotation for a stub; arrays as `NDArray[numpy.float64]`."""
    return " | ".join(_annotation(member) for member in text.split(" | "))


def is_array(text: str) -> bool:
    return "[" in text


def converts(text: str) -> bool:
    """Whether values of this type can be multiplied by a factor that is no whole number, as units need it."""
    members = [member for member in text.split(" | ") if member != "None"]
    return all(member == "float" or (is_array(member) and member[0] in "fc") for member in members)


# --- texts -------------------------------------------------------------------------------------


def _canonical_text(text: str) -> str:
    if text in _PLAIN:
        return text
    if text in ("Any", "object"):
        return ANY
    if "[" not in text:
        _no_type(text)
    from flame.types.array_types import ArrayType

    array = ArrayType.parse(text)
    return str(array) if array is not None else _no_type(text)


def _joined(members: list[str]) -> str:
    """Each member once, in the order declared, None last."""
    if ANY in members:
        return ANY
    flat = list(dict.fromkeys(part for member in members for part in member.split(" | ")))
    return " | ".join(sorted(flat, key=lambda member: member == "None"))


def _no_type(shown: str) -> NoReturn:
    raise WorkflowError(
        Code.PORT_WRONG,
        f"{shown!r} is no type of a port",
        next_step='write float, int, bool, str, bytes, list, dict, Any, `float | None`, or an array such as "f8[2048]"',
    )


def _annotation(member: str) -> str:
    if member == ANY:
        return "Any"
    if not is_array(member):
        return {"list": "list[Any]", "dict": "dict[Any, Any]"}.get(member, member)
    return f"NDArray[numpy.{_array(member).numpy_name}]"


def _array(text: str) -> ArrayType:
    from flame.types.array_types import ArrayType

    array = ArrayType.parse(text)
    return array if array is not None else _no_type(text)


def _fits(given: str, wanted: str) -> str:
    if given == wanted or (given, wanted) == ("int", "float"):
        return ""
    if is_array(given) and is_array(wanted):
        return _array(given).fits(_array(wanted))
    if (given, wanted) == ("float", "int"):
        return "a float never becomes an int"
    if (given, wanted) == ("bool", "int"):
        return "a bool is no int"
    return f"{given} is no {wanted}"


# --- values ------------------------------------------------------------------------------------


def _checker(member: str) -> Checker:
    if is_array(member):
        return _array(member).check
    return _CHECKERS[member]


def _one_of(text: str, members: list[Checker]) -> Checker:
    """The first member that takes the value as it is wins over one that would convert it."""

    def check(value: Any) -> Any:
        taken = None
        for one in members:
            try:
                given = one(value)
            except WorkflowError:
                continue
            if given is value:
                return value
            taken = taken or (given,)
        return taken[0] if taken else refuse(text, value)

    return check


def refuse(expected: str, value: Any, why: str = "") -> NoReturn:
    """Raises WorkflowError(VALUE_WRONG): what was expected and what was seen."""
    raise WorkflowError(
        Code.VALUE_WRONG, f"{described(value)} is no {expected}{why}", next_step=f"give a value of the type {expected}"
    )


def described(value: Any) -> str:
    """A value for a sentence: its text, cut, and its type."""
    if value is None:
        return "None"
    kind = type(value).__name__
    if hasattr(value, "dtype") and getattr(value, "shape", ()) != ():
        return f"an array {value.dtype.str[1:]}{list(value.shape)}"
    try:
        text = repr(value)
    except Exception as error:  # repr of the user's own class
        text = f"a value whose repr raises {type(error).__name__}"
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({kind})"


def python_scalar(value: Any) -> Any:
    """A scalar of numpy, or an array without axes, as Python's own value; all else as it is."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic | numpy.ndarray):
        return value
    return value.item() if value.shape == () and value.dtype.kind in "biufSU" else value


def _any(value: Any) -> Any:
    return value


def _none(value: Any) -> Any:
    return refuse("None", value) if value is not None else None


def _bool(value: Any) -> Any:
    if type(value) is bool:
        return value
    plain = python_scalar(value)
    return plain if type(plain) is bool else refuse("bool", value)


def _int(value: Any) -> Any:
    if type(value) is int:
        return value
    plain = python_scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, int):
        refuse("int", value, ": a float never becomes an int" if isinstance(plain, float) else "")
    return int(plain)


def _float(value: Any) -> Any:
    if type(value) is float:
        return value
    plain = python_scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        refuse("float", value)
    if isinstance(plain, int) and abs(plain) > _EXACT_MAX:
        return _float_of_large(plain)
    return float(plain)


def _float_of_large(value: int) -> float:
    try:
        found = float(value)
    except OverflowError:
        refuse("float", value, ": it is too large")
    return found if int(found) == value else refuse("float", value, ": a float cannot hold all its digits")


def _str(value: Any) -> Any:
    if type(value) is str:
        return value
    return str(value) if isinstance(value, str) else refuse("str", value)


def _bytes(value: Any) -> Any:
    if type(value) is bytes:
        return value
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else refuse("bytes", value)


def _list(value: Any) -> Any:
    if type(value) is list:
        return value
    return list(value) if isinstance(value, list | tuple) else refuse("list", value)


def _dict(value: Any) -> Any:
    if type(value) is dict:
        return value
    return dict(value) if isinstance(value, dict) else refuse("dict", value)


_CHECKERS: Final[dict[str, Checker]] = {
    ANY: _any,
    "None": _none,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _str,
    "bytes": _bytes,
    "list": _list,
    "dict": _dict,
}
