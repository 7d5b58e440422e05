"""What happens to a value between what was sent and what a program gets: unit, type, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flame.ports import InputPort
from flame.types import port_types
from protocol.errors import Code, WorkflowError

Reading = Callable[[Any], Any]


def reading(port: InputPort, factor: float = 1.0, offset: float = 0.0) -> Reading | None:
    """A function that gives `value * factor + offset` as the input wants it; None when every value stays as it is.

    It raises WorkflowError(VALUE_WRONG), naming the input, what was expected and what was seen.
    """
    converts = (factor, offset) != (1.0, 0.0)
    low, high = port.limits
    if not converts and port.type == port_types.ANY and low is None and high is None:
        return None
    check = port_types.checker(port.type)

    def read(value: Any) -> Any:
        try:
            if converts and value is not None:
                value = value * factor + offset
            value = check(value)
            if (low is not None or high is not None) and value is not None:
                _check_limits(value, low, high, port.unit)
        except (WorkflowError, TypeError) as error:
            sentence = error.sentence if isinstance(error, WorkflowError) else str(error)
            step = error.next_step if isinstance(error, WorkflowError) else ""
            raise WorkflowError(Code.VALUE_WRONG, f"input {port.name!r}: {sentence}", next_step=step) from None
        return value

    return read


def _check_limits(value: Any, low: float | None, high: float | None, unit: str) -> None:
    if hasattr(value, "dtype"):
        if not value.size:
            return  # nothing in it is outside
        smallest, largest = value.min(), value.max()
    else:
        smallest = largest = value
    # Written so that a NaN, which is in no range, is refused as well.
    if (low is None or smallest >= low) and (high is None or largest <= high):
        return
    seen = smallest if low is not None and not smallest >= low else largest
    bounds = f"from {low if low is not None else '-∞'} to {high if high is not None else '∞'}"
    raise WorkflowError(
        Code.VALUE_WRONG,
        f"{seen!r} is outside of what is allowed, {bounds}{f' {unit}' if unit else ''}",
        next_step="give a value within, or change limits= of the input",
    )
