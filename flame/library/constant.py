"""An input without an edge: a parameter, the same value all the time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from flame.control import InputCount
from flame.edges.message import Record
from flame.library.reading import reading
from flame.library.stopping import Stopped
from flame.ports import Given, InputKind, InputPort
from flame.types import portable
from protocol.errors import Code, WorkflowError


def parameter(port: InputPort, given: Mapping[str, Any]) -> Any:
    """The value of a parameter: what was given, else the default. None may be one.

    Raises WorkflowError(VALUE_WRONG) for one that the input does not take, and WorkflowError(PARAMETER_MISSING).
    """
    if port.name in given:
        read = reading(port)
        value = portable.load(given[port.name])
        return value if read is None else read(value)
    if isinstance(port.default, Given):
        return portable.load(port.default.value)
    raise WorkflowError(
        Code.PARAMETER_MISSING,
        f"the input {port.name!r} has no edge, no parameter and no default",
        next_step=f"write a value for {port.name!r} into parameters.json, wire it, or give it a default=",
    )


class Constant:
    """A flow gives it each time it is asked; a state changes once, at the start."""

    pollable: Final = None

    def __init__(self, value: Any, kind: InputKind) -> None:
        self._record = Record(value, time.time_ns(), 0)
        self._kind = kind
        self._was_taken = False

    def take(self, wait_s: float | None) -> Record | None:
        if self._was_taken and self._kind == "state":
            raise Stopped("a parameter does not change")
        self._was_taken = True
        return self._record

    def newest(self) -> Record | None:
        return None if self._was_taken else self.take(0)

    def peek(self) -> bool:
        return not self._was_taken

    @property
    def is_ended(self) -> bool:
        return self._was_taken and self._kind == "state"

    @property
    def count(self) -> InputCount:
        return InputCount()
