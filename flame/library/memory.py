"""What a flame node remembers over a restart: named values, committed together with its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flame import values
from protocol.errors import Code, WorkflowError

# A value of these types changes by assignment alone; another may change inside, and is compared as bytes.
_SCALARS: Final = (float, int, bool, str, bytes, type(None))


class Memory:
    """Named values as attributes: `memory.integral += 1`. Which names there are is fixed by `node.memory(...)`.

    After a restart they have the values of the last commit: that of the last `out.set`, or, in a flame node that took a
    value without setting one, of the moment when it asked for the next.
    """

    def __init__(self, initial: Mapping[str, Any]) -> None:
        vars(self)["_values"] = dict(initial)
        vars(self)["_kept"] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return vars(self)["_values"][name]
        except KeyError:
            raise self._unknown(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._values:
            raise self._unknown(name)
        self._values[name] = value

    def __repr__(self) -> str:
        return f"Memory({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def _unknown(self, name: str) -> Exception:
        if name.startswith("__"):  # Python asks for them: copy, pickle, a notebook
            return AttributeError(name)
        return WorkflowError(
            Code.NODE_FILE_WRONG,
            f"this flame node does not remember {name!r}, only {', '.join(self._values) or 'nothing'}",
            next_step=f"declare it: node.memory({name}=…)",
        )


def names(memory: Memory) -> tuple[str, ...]:
    return tuple(vars(memory)["_values"])


def restore(memory: Memory, recovered: Mapping[str, Any]) -> None:
    """What was committed; a name that is declared no more is passed over."""
    held, kept = vars(memory)["_values"], vars(memory)["_kept"]
    for name in held.keys() & recovered.keys():
        held[name] = recovered[name]
        kept[name] = (
            recovered[name] if isinstance(recovered[name], _SCALARS) else _Bytes(values.encode(recovered[name]))
        )


def changed(memory: Memory) -> dict[str, bytes]:
    """Encoded, by name: what differs from the last time this was asked, which was followed by a commit.

    Raises WorkflowError(VALUE_WRONG), naming what cannot be kept; then nothing counts as committed.
    """
    held, kept = vars(memory)["_values"], vars(memory)["_kept"]
    found: dict[str, bytes] = {}
    fresh: dict[str, Any] = {}
    for name, value in held.items():
        if isinstance(value, _SCALARS):
            if name in kept and type(kept[name]) is type(value) and _same(kept[name], value):
                continue
            found[name], fresh[name] = _encoded(name, value), value
        else:
            data = _encoded(name, value)
            if type(kept.get(name)) is not _Bytes or kept[name] != data:
                found[name], fresh[name] = data, _Bytes(data)
    kept.update(fresh)
    return found


class _Bytes(bytes):
    """The encoded form of a value, not a value of the type bytes."""


def _same(one: Any, other: Any) -> bool:
    # 0.0 and -0.0 are equal and not the same; a NaN is not equal to itself and is kept anew.
    return one is other or (one == other and (one != 0 or type(one) is not float))


def _encoded(name: str, value: Any) -> bytes:
    try:
        return values.encode(value)
    except WorkflowError as error:
        raise WorkflowError(error.code, f"memory.{name}: {error.sentence}", next_step=error.next_step) from None
