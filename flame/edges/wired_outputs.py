"""Outputs of a flame node within a run: journal first, then the edges."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from flame import values
from flame.edges import message
from flame.edges.sending import SendingEnd
from flame.edges.shared_arrays import NoRoom, SharedOutput
from flame.edges.tap import Tap
from flame.library.commits import Commits
from flame.limits import LARGE_BYTES
from flame.ports import OutputPort

_SCALARS: Final = frozenset({float, int, bool, str, bytes, type(None)})  # types without an array inside


class WiredOutput:
    """One output and the edges that leave it."""

    def __init__(
        self, port: OutputPort, edges: Sequence[SendingEnd], shared: SharedOutput, *, journalled: bool, next_seq: int
    ) -> None:
        """`next_seq`: of the journal. Without one, numbers go on where an earlier life of this flame node ended."""
        self.port: Final = port
        self.edges: Final = tuple(edges)
        self.journalled: Final = journalled
        self.sent = 0
        self._shared = shared
        if journalled:
            self._seq = next_seq - 1
            for edge in self.edges:
                edge.announce(self._seq)
        else:
            self._seq = max((edge.sent for edge in self.edges), default=0)
        self._last: tuple[int, int, bytes | None] = (0, 0, None)

    @property
    def newest(self) -> tuple[int, int, bytes | None]:
        """Number, time, and the value as bytes; None before the first of this life. Any thread."""
        return self._last

    def encoded(self, value: Any) -> tuple[bytes, int]:
        """The value, and how many bytes it has wherever they lie. Large arrays go to shared memory where they can."""
        if self.journalled or not self.edges or type(value) in _SCALARS:
            data = values.encode(value)
            return data, len(data)
        self._shared.begin(self._seq + 1)
        try:
            data = values.encode(value, self._shared.place)
            return data, len(data) + self._shared.placed_bytes
        except NoRoom:
            data = values.encode(value)
            return data, len(data)

    def send_alone(self, value: Any, time_ns: int) -> None:
        """Without a journal: encode and send."""
        if type(value) in _SCALARS:
            data = values.encode(value)
            weight = len(data)
        else:
            data, weight = self.encoded(value)
        self._seq = seq = self._seq + 1
        self.sent += 1
        self._last = (seq, time_ns, data)
        frame = message.encode_value(seq, time_ns, data)
        for edge in self.edges:
            edge.send(seq, frame, weight)

    def send(self, seq: int | None, time_ns: int, data: bytes, weight: int) -> None:
        """`seq`: its number in the journal, None for an output without one."""
        self._seq = seq = self._seq + 1 if seq is None else seq
        self.sent += 1
        self._last = (seq, time_ns, data)
        if self.journalled and len(data) >= LARGE_BYTES:
            frame, weight = message.encode(message.IN_JOURNAL, seq, time_ns), 0
        else:
            frame = message.encode_value(seq, time_ns, data)
        for edge in self.edges:
            edge.send(seq, frame, weight)

    def finish(self) -> None:
        """No value will follow."""
        for edge in self.edges:
            if edge.ends:
                edge.finish(message.encode(message.END, self._seq))


class WiredOutlet:
    """All outputs of one flame node. Sets from several threads go one after the other."""

    def __init__(
        self,
        outputs: dict[str, WiredOutput],
        commits: Commits,
        stop_when: Sequence[str],
        ask_stop: Callable[[str], None],
        tap: Tap,
    ) -> None:
        self._outputs = outputs
        self._commits = commits
        self._keeps = commits.keeps
        self._stop_when = frozenset(stop_when)
        self._ask_stop = ask_stop
        self._tap = tap
        tap.shows(lambda name: outputs[name].newest if name in outputs else (0, 0, None))
        self._durable = frozenset(name for name, output in outputs.items() if output.port.durable)
        # Not the lock of commits: a thread that waits for room must not keep another from reading what makes room.
        self._lock = threading.Lock()

    def set(self, values: dict[str, Any], time_ns: int) -> None:
        outputs = self._outputs
        with self._lock:
            if not self._keeps and len(values) == 1:  # nothing to commit, nothing to do as one: most of what is sent
                for name, value in values.items():
                    outputs[name].send_alone(value, time_ns)
            else:
                self._set_as_one(values, time_ns)
            if self._tap.wanted:
                self._show(values)
        if self._stop_when:
            self._look_whether_to_stop(values)

    def _set_as_one(self, values: dict[str, Any], time_ns: int) -> None:
        outputs = self._outputs
        encoded = {name: outputs[name].encoded(value) for name, value in values.items()}
        kept = {name: data for name, (data, _) in encoded.items() if outputs[name].journalled}
        durable = bool(self._durable) and not self._durable.isdisjoint(values)
        numbers = self._commits.commit(kept, time_ns, durable=durable)
        for name, (data, weight) in encoded.items():
            outputs[name].send(numbers.get(name), time_ns, data, weight)

    def _show(self, values: dict[str, Any]) -> None:
        """To those who watch outputs that no journal keeps."""
        for name in self._tap.wanted.intersection(values):
            if not self._outputs[name].journalled:
                seq, time_ns, _ = self._outputs[name].newest
                self._tap.offer(name, seq, time_ns, values[name])

    def _look_whether_to_stop(self, values: dict[str, Any]) -> None:
        for name in self._stop_when.intersection(values):
            if _is_true(values[name]):
                self._ask_stop(f"the output {name!r} is true")

    @property
    def sent(self) -> dict[str, int]:
        return {name: output.sent for name, output in self._outputs.items()}

    @property
    def blocked_on(self) -> str:
        """The consumer's input that holds this program up, "" for none."""
        edges = (edge for output in self._outputs.values() for edge in output.edges)
        return next((edge.consumer for edge in edges if edge.blocked), "")

    @property
    def edges(self) -> list[SendingEnd]:
        return [edge for output in self._outputs.values() for edge in output.edges]

    def finish(self) -> None:
        for output in self._outputs.values():
            output.finish()


def _is_true(value: Any) -> bool:
    return bool(value.any()) if hasattr(value, "dtype") else bool(value)
