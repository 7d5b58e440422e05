"""Inputs of a flame node: what is declared, and the handles by which a program reads."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Protocol, TypeVar, Unpack, cast, overload

from flame.control import InputCount
from flame.edges.message import Record
from flame.library import declaring
from flame.library.commits import Commits
from flame.library.declaring import InputOptions
from flame.library.outputs import AFTER_END
from flame.library.stopping import StopFlag, Stopped
from flame.ports import InputPort
from protocol.errors import Code, WorkflowError

if TYPE_CHECKING:
    import zmq

T = TypeVar("T")
Handle = TypeVar("Handle", bound="Input[Any]")

FLOW_DEPTH: Final = 1_000
STATE_DEPTH: Final = 1


class Source(Protocol):
    """Where the values of one input come from: an edge, a parameter, the data of a dry run."""

    def take(self, wait_s: float | None) -> Record | None: ...
    def newest(self) -> Record | None: ...
    def peek(self) -> bool: ...
    @property
    def is_ended(self) -> bool: ...
    @property
    def pollable(self) -> zmq.Socket[bytes] | int | None: ...
    @property
    def count(self) -> InputCount: ...


class _NoSource:
    """What an input has before `node.register()` and after the end of its flame node."""

    def __init__(self, name: str, when: str) -> None:
        self._name = name
        self._when = when

    def __getattr__(self, what: str) -> NoReturn:
        raise WorkflowError(
            Code.NODE_FILE_WRONG,
            f"the input {self._name!r} was read {self._when}",
            next_step="read inputs between node.register() and the end of the flame node",
        )


class Input(Generic[T]):
    """What flow and state have in common. A handle belongs to one thread at a time."""

    def __init__(self, port: InputPort) -> None:
        self.port: Final = port
        self.source: Source = cast(Source, _NoSource(port.name, "before node.register()"))
        self._stop = StopFlag()
        self._commits: Commits | None = None
        self._last: Record | None = None

    @property
    def name(self) -> str:
        return self.port.name

    def join(self, source: Source, stop: StopFlag, commits: Commits | None = None) -> None:
        """From now on values come from `source`. `commits`: for an input whose position is kept."""
        self.source, self._stop, self._commits = source, stop, commits

    def close(self, why: str = AFTER_END) -> None:
        """A later `get` is refused; `why` says when it came."""
        self.source, self._commits = cast(Source, _NoSource(self.name, why)), None

    def updated(self) -> bool:
        """Whether there is a value that was not got yet. Never waits, and never takes one away."""
        return self.source.peek()

    def last(self) -> Record | None:
        """The record that was got last; None before the first."""
        return self._last

    def age(self) -> float:
        """Seconds since the time of the value that was got last; infinite before the first."""
        return math.inf if self._last is None else (time.time_ns() - self._last.time) / 1e9

    def __iter__(self) -> Iterator[Record]:
        """Each next value as it comes, until the run stops or no value will come any more."""
        while True:
            try:
                record = self._next(None)
            except Stopped:
                return
            assert record is not None
            yield record

    def get(self, timeout: float | None = None) -> T:
        """The value that its kind says: see `Flow` and `State`."""
        raise NotImplementedError

    def _next(self, timeout: float | None) -> Record | None:
        raise NotImplementedError

    def _too_late(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"the input {self.name!r} got no value within {timeout} s")


class Flow(Input[T]):
    """Every value once, in order."""

    def get(self, timeout: float | None = None) -> T:
        """The next value; waits for it.

        Raises TimeoutError after `timeout` seconds, and Stopped when the run stops or no value will come any more.
        """
        record = self._next(timeout)
        if record is None:
            raise self._too_late(timeout)
        value: T = record.value
        return value

    def _next(self, timeout: float | None) -> Record | None:
        commits = self._commits
        if commits is not None:
            commits.before_next(self.port.name)
        if self._stop.is_set:
            self._stop.check()
        record = self.source.take(timeout)
        if record is not None:
            self._last = record
            if commits is not None:
                commits.taken(self.port.name, record.seq)
        return record


class State(Input[T]):
    """The newest value. Iterating gives each change that is seen, the newest of several."""

    def get(self, timeout: float | None = None) -> T:
        """The newest value; waits for the first one only.

        Raises TimeoutError after `timeout` seconds, and Stopped when the run stops before there is one.
        """
        record = self.source.newest()
        if record is not None:
            self._last = record
        elif self._last is None:
            record = self._wait(timeout)
            if record is None:
                raise self._too_late(timeout)
        assert self._last is not None
        value: T = self._last.value
        return value

    def _next(self, timeout: float | None) -> Record | None:
        self._stop.check()
        record = self.source.newest()
        if record is None:
            return self._wait(timeout)
        self._last = record
        return record

    def _wait(self, timeout: float | None) -> Record | None:
        record = self.source.take(timeout)
        if record is not None:
            self._last = record
        return record


class Inputs:
    """Declares inputs: `node.inputs.flow("trace", "f8[2048]", unit="V")`."""

    def __init__(self) -> None:
        self.all: Final[dict[str, Input[Any]]] = {}
        self.is_closed = False

    @overload
    def flow(self, name: str, type: type[T], **about: Unpack[InputOptions]) -> Flow[T]: ...
    @overload
    def flow(self, name: str, type: object = None, **about: Unpack[InputOptions]) -> Flow[Any]: ...
    def flow(self, name: str, type: object = None, **about: Unpack[InputOptions]) -> Flow[Any]:  # noqa: A002
        """Every value matters. `depth` values may wait; `policy` says what happens to more: "block" (the producer
        waits), "spill" (they wait in the producer's journal), "drop_new" (they are left out), "latest" (the oldest is).

        `type`: float, "f8[2048]", `float | None` …; without it, any. Raises WorkflowError(PORT_WRONG).
        """
        options: InputOptions = {"depth": FLOW_DEPTH, "policy": "block", **about}
        return self._add(Flow(declaring.input_port(name, "flow", type, **options)))

    @overload
    def state(self, name: str, type: type[T], **about: Unpack[InputOptions]) -> State[T]: ...
    @overload
    def state(self, name: str, type: object = None, **about: Unpack[InputOptions]) -> State[Any]: ...
    def state(self, name: str, type: object = None, **about: Unpack[InputOptions]) -> State[Any]:  # noqa: A002
        """The newest value matters. Raises WorkflowError(PORT_WRONG)."""
        options: InputOptions = {"depth": STATE_DEPTH, "policy": "latest", **about}
        return self._add(State(declaring.input_port(name, "state", type, **options)))

    def __getitem__(self, name: str) -> Input[Any]:
        try:
            return self.all[name]
        except KeyError:
            raise declaring.wrong(f"there is no input {name!r}", f"inputs: {', '.join(self.all) or 'none'}") from None

    def _add(self, handle: Handle) -> Handle:
        if self.is_closed:
            raise declaring.wrong(
                f"the input {handle.name!r} is declared after node.register()", "declare it before node.register()"
            )
        declaring.check_name(handle.name, self.all, "input")
        self.all[handle.name] = handle
        return handle
