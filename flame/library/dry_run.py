"""A node file run alone: fed data instead of edges, expectations instead of consumers. Its data are also its test."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from flame import values
from flame.control import InputCount
from flame.edges.message import Record
from flame.library.inputs import Input
from flame.library.outputs import Output
from flame.library.reading import reading
from flame.library.stopping import StopFlag, Stopped
from flame.ports import MISSING, Given, InputPort
from flame.types import port_types, portable
from protocol.errors import Code, WorkflowError

_USED_UP: Final = "the data of the dry run are used up"


class Fed:
    """The values of one input in a dry run. A flow is used up after the last; a state keeps its last value."""

    pollable: Final = None

    def __init__(self, port: InputPort) -> None:
        self.port: Final = port
        self._waiting: deque[Any] = deque()
        self.fed = 0
        self.taken = 0

    def feed(self, items: Iterable[Any]) -> None:
        read = reading(self.port)
        for item in items:
            self._waiting.append(item if read is None else read(item))
            self.fed += 1

    def forget(self) -> None:
        self.fed -= len(self._waiting)
        self._waiting.clear()

    @property
    def is_used_up(self) -> bool:
        return not self._waiting

    def take(self, wait_s: float | None) -> Record | None:
        if self._waiting:
            self.taken += 1
            return Record(self._waiting.popleft(), time.time_ns(), self.taken)
        if self.fed or self.port.kind == "flow":
            raise Stopped(_USED_UP)
        if isinstance(self.port.default, Given):
            self.fed += 1
            self._waiting.append(portable.load(self.port.default.value))
            return self.take(wait_s)
        raise WorkflowError(
            Code.VALUE_WRONG,
            f"the dry run has no value for the input {self.port.name!r}, which has no default",
            next_step=f"feed one: dry.feed({self.port.name}, …)",
        )

    def newest(self) -> Record | None:
        return self.take(0) if self._waiting else None

    def peek(self) -> bool:
        return bool(self._waiting)

    @property
    def is_ended(self) -> bool:
        return not self._waiting

    @property
    def count(self) -> InputCount:
        return InputCount(self.taken, 0, len(self._waiting))


class Expectation:
    """What an output shall be when the dry run ends."""

    def __init__(self, output: Output[Any], wanted: str, met: Callable[[Output[Any]], bool]) -> None:
        self._output = output
        self._wanted = wanted
        self._met = met

    def complaint(self) -> str:
        """ "" when it is met."""
        if self._met(self._output):
            return ""
        last = self._output.last()
        seen = (
            "it was never set"
            if last is None
            else f"its last of {last.seq} values is {port_types.described(last.value)}"
        )
        return f"the output {self._output.name!r} was expected to {self._wanted}; {seen}"


class DryRun:
    """`with node.dry_run() as dry:` feeds inputs and names expectations. Within a run of a workflow it does nothing."""

    def __init__(self, *, is_alone: bool) -> None:
        self._is_alone = is_alone
        self._fed: dict[str, Fed] = {}
        self._saved: frozenset[str] = frozenset()  # inputs that a saved run has fed
        self._expectations: list[Expectation] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def join(self, handle: Input[Any], stop: StopFlag) -> None:
        """From now on `handle` reads what is fed."""
        self._fed[handle.name] = source = Fed(handle.port)
        handle.join(source, stop)

    def feed_saved(self, address: str) -> None:
        """Feed every input with what arrived there in a saved run. One of which nothing is kept is left to `feed`.

        `address`: of the flame node, "#/j41/lock". Raises WorkflowError(RUN_UNKNOWN | NOTHING_THERE), StorageError.
        """
        from flame.names.saved_inputs import (
            saved_inputs,  # what reads journals and archives is loaded where one is read
        )

        found = saved_inputs(address, Path.cwd(), tuple(self._fed))
        for name, items in found.items():
            self._fed[name].feed(items)
        self._saved = frozenset(found)

    def feed(self, handle: Input[Any], data: Any) -> None:
        """Give an input its values: a list, an iterator, an array of more than the input's axes, or one value.

        A function without arguments is called for them, in a dry run alone. Calling `feed` again adds to it.
        Raises WorkflowError(VALUE_WRONG) for a value that does not fit the declaration, which it never changes. What a
        saved run has fed stays as it is.
        """
        if self._is_alone and handle.name not in self._saved:
            data = data() if callable(data) else data
            self._fed[handle.name].feed(_items(data, handle.port))

    def forget(self) -> None:
        """All that was fed and not taken."""
        for source in self._fed.values():
            source.forget()

    def expect(
        self,
        output: Output[Any],
        *,
        equal: Any = MISSING,
        near: float | None = None,
        within: float = 0.0,
        count: int | None = None,
    ) -> None:
        """At the end the last value of `output` shall equal `equal`, differ from `near` by at most `within`, and it
        shall have been set `count` times. Without any of them: it shall have been set. It belongs to the data of the
        file: where a saved run feeds an input, it is not judged.
        """
        if not self._is_alone or self._saved:
            return
        if equal is not MISSING:
            self._add(output, f"be {port_types.described(equal)}", lambda value: _is_equal(value, equal))
        if near is not None:
            self._add(output, f"be within {within} of {near}", lambda value: _is_near(value, near, within))
        if count is not None:
            self._expectations.append(Expectation(output, f"be set {count} times", lambda one: one.count == count))
        if equal is MISSING and near is None and count is None:
            self._expectations.append(Expectation(output, "be set", lambda one: one.count > 0))

    @property
    def has_data(self) -> bool:
        """Whether there is something left for the program: of its flows, or of its states when no flow was fed."""
        fed = [source for source in self._fed.values() if source.fed]
        flows = [source for source in fed if source.port.kind == "flow"]
        return any(not source.is_used_up for source in flows or fed)

    def ticks(self) -> Iterator[int]:
        """Of a clock: at least one, since a source of values may have no inputs; the last is one that took nothing."""
        tick, taken = 0, -1
        while tick == 0 or (self.has_data and self._taken != taken):
            taken = self._taken
            yield tick
            tick += 1

    @property
    def _taken(self) -> int:
        return sum(source.taken for source in self._fed.values())

    def complaints(self) -> list[str]:
        return [text for text in (expectation.complaint() for expectation in self._expectations) if text]

    def summary(self, outputs: Iterable[Output[Any]]) -> str:
        taken = ", ".join(f"{source.taken} of {name}" for name, source in self._fed.items() if source.fed) or "no data"
        made = ", ".join(f"{output.count} of {output.name}" for output in outputs if output.count) or "nothing"
        met = f"; {len(self._expectations)} expectations met" if self._expectations else ""
        return f"dry run: took {taken}; set {made}{met}"

    def _add(self, output: Output[Any], wanted: str, is_met: Callable[[Any], bool]) -> None:
        def met(one: Output[Any]) -> bool:
            last = one.last()
            return last is not None and is_met(last.value)

        self._expectations.append(Expectation(output, wanted, met))


class DryOutlet:
    """Outputs of a dry run: nothing leaves the program, and what could not be kept is refused all the same."""

    def set(self, checked: dict[str, Any], time_ns: int) -> None:
        for value in checked.values():
            values.encode(value)


def _items(data: Any, port: InputPort) -> Iterable[Any]:
    if hasattr(data, "dtype"):  # an array: one value, or one for each place of its first axis
        try:
            read = reading(port)
            return [data] if read is None else [read(data)]
        except WorkflowError:
            return list(data) if getattr(data, "ndim", 0) else [data]
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable):
        return [data]
    if port.type == "list" and not (isinstance(data, list) and data and isinstance(data[0], list)):
        return [data]
    return data


def _is_equal(value: Any, wanted: Any) -> bool:
    return values.encode(value) == values.encode(wanted)


def _is_near(value: Any, wanted: float, within: float) -> bool:
    difference = abs(value - wanted)
    return bool((difference <= within).all()) if hasattr(difference, "dtype") else bool(difference <= within)
