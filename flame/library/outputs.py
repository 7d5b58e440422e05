"""Outputs of a flame node: what is declared, and `set`."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar, Unpack, overload

from flame.edges.message import Record
from flame.library import declaring
from flame.library.declaring import FiniteOptions, OutputOptions
from flame.ports import Lifetime, OutputPort
from flame.types import port_types
from protocol.errors import Code, WorkflowError

T = TypeVar("T")


AFTER_END: Final = "after the end of the flame node"
_OWN: Final = frozenset({"all", "is_closed", "_outlet", "_why_closed"})


class Outlet(Protocol):
    """Where the values of all outputs go: edges and a journal, or the expectations of a dry run."""

    def set(self, values: dict[str, Any], time_ns: int) -> None: ...


class Output(Generic[T]):
    """A handle of one output. Values are set through `node.outputs.set(name=value)`."""

    def __init__(self, port: OutputPort) -> None:
        self.port: Final = port
        self.check: Final[Callable[[Any], Any]] = port_types.checker(port.type)
        self.count = 0
        self.latest: tuple[Any, int] | None = None

    @property
    def name(self) -> str:
        return self.port.name

    def last(self) -> Record | None:
        """What this program set last; None before the first. `seq` counts from 1 since the program was started."""
        return None if self.latest is None else Record(*self.latest, self.count)


class Outputs:
    """Declares outputs, and sets them: `node.outputs.set(beat=80.0, error=0.1)`."""

    def __init__(self) -> None:
        self.all: Final[dict[str, Output[Any]]] = {}
        self.is_closed = False
        self._outlet: Outlet | None = None
        self._why_closed = "before node.register()"

    def __setattr__(self, name: str, value: Any) -> None:
        """`outputs.beat = 80.0` would reach nobody, and nobody would see that."""
        if name not in _OWN:
            raise declaring.wrong(
                f"{name!r} was assigned to, which sets no output", f"write node.outputs.set({name}=…)"
            )
        object.__setattr__(self, name, value)

    def close(self, why: str = AFTER_END) -> None:
        """A later `set` is refused; `why` says when it came."""
        self._outlet = None
        self._why_closed = why

    def join(self, outlet: Outlet) -> None:
        self._outlet = outlet

    @overload
    def runtime(self, name: str, type: type[T], **about: Unpack[OutputOptions]) -> Output[T]: ...
    @overload
    def runtime(self, name: str, type: object = None, **about: Unpack[OutputOptions]) -> Output[Any]: ...
    def runtime(self, name: str, type: object = None, **about: Unpack[OutputOptions]) -> Output[Any]:  # noqa: A002
        """For other flame nodes only; not kept. Raises WorkflowError(PORT_WRONG)."""
        return self._add(name, "runtime", type, **about)

    @overload
    def finite(self, name: str, type: type[T], **about: Unpack[FiniteOptions]) -> Output[T]: ...
    @overload
    def finite(self, name: str, type: object = None, **about: Unpack[FiniteOptions]) -> Output[Any]: ...
    def finite(self, name: str, type: object = None, **about: Unpack[FiniteOptions]) -> Output[Any]:  # noqa: A002
        """Kept in the journal for the time `keep`. Raises WorkflowError(PORT_WRONG)."""
        return self._add(name, "finite", type, **about)

    @overload
    def permanent(self, name: str, type: type[T], **about: Unpack[OutputOptions]) -> Output[T]: ...
    @overload
    def permanent(self, name: str, type: object = None, **about: Unpack[OutputOptions]) -> Output[Any]: ...
    def permanent(self, name: str, type: object = None, **about: Unpack[OutputOptions]) -> Output[Any]:  # noqa: A002
        """Kept in the journal and then in the archive. Raises WorkflowError(PORT_WRONG)."""
        return self._add(name, "permanent", type, **about)

    def set(self, *, time: int | None = None, **values: Any) -> None:
        """Set outputs by name, as one: all of them, what is remembered and what was taken, or nothing.

        `time`: of measurement, ns since 1970 UTC, as in a record; now when it is absent. It waits where a consumer's
        input with the policy `block` is full. Any thread. Raises WorkflowError(VALUE_WRONG) for a value that does not
        fit the output, WorkflowError(PORT_WRONG) for an output that was not declared, StorageError, and Stopped when
        it would have to wait and the run stops.
        """
        if self._outlet is None:
            raise WorkflowError(
                Code.NODE_FILE_WRONG,
                f"outputs were set {self._why_closed}",
                next_step="set outputs between node.register() and the end of the flame node",
            )
        time_ns = clock.time_ns() if time is None else _checked_time(time)
        outputs = self.all
        try:
            for name, value in values.items():
                values[name] = outputs[name].check(value)
        except KeyError:
            raise declaring.wrong(f"there is no output {name!r}", f"outputs: {', '.join(outputs) or 'none'}") from None
        except WorkflowError as error:
            raise WorkflowError(error.code, f"output {name!r}: {error.sentence}", next_step=error.next_step) from None
        self._outlet.set(values, time_ns)
        for name, value in values.items():
            output = outputs[name]
            output.count += 1
            output.latest = (value, time_ns)

    def _add(self, name: str, lifetime: Lifetime, declared: object, **about: Unpack[FiniteOptions]) -> Output[Any]:
        if self.is_closed:
            raise declaring.wrong(
                f"the output {name!r} is declared after node.register()", "declare it before node.register()"
            )
        declaring.check_name(name, self.all, "output")
        self.all[name] = output = Output[Any](declaring.output_port(name, lifetime, declared, **about))
        return output


def _checked_time(time: Any) -> int:
    if type(time) is not int or not 0 <= time < 1 << 63:
        raise WorkflowError(
            Code.VALUE_WRONG,
            f"time={time!r} is no time of a value",
            next_step="give whole ns since 1970, as record.time or time.time_ns()",
        )
    return time
