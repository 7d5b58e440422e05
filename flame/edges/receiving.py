"""The consumer's end of an edge: a PULL socket that binds, and what its policy and the producer's journal need.

Values are given in the order of their numbers, each once. A gap in the numbers means:
- on a `block` or `spill` edge whose output is journalled: the values lie in the journal, and are read from there first;
- otherwise: they were left out by the policy, or were on their way when one of both ends crashed. They are counted.

An end belongs to one thread at a time; `count` may be asked by any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import zmq

from flame import values
from flame.control import InputCount, InputEnd
from flame.edges import message
from flame.edges.edge_page import DROPPED, ENDED, FINISHED, HOLDS, LOST, SENT, SLOTS_MAX, TAKEN, WAITS, Bell, EdgePage
from flame.edges.message import Message, Record
from flame.edges.shared_arrays import SharedInput, VanishedError
from flame.library.stopping import StopFlag, Stopped
from flame.limits import LOST_QUIET_S, SLICE_MS
from protocol.errors import Code, StorageError

if TYPE_CHECKING:
    from flame.journal import JournalReader, Stored

Reading = Callable[[Any], Any]


_NOBLOCK: Final = int(zmq.NOBLOCK)  # an enum is turned into a number at each call


def _give_up(reference: bytes) -> bytes:
    """The array was on its way when this flame node was started anew."""
    raise VanishedError


class ReceivingEnd:
    """Values of one input as they arrive. `reading` turns what was sent into what the input declares, or refuses it."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        end: InputEnd,
        shared: Path,
        stop: StopFlag,
        *,
        reading: Reading | None = None,
        journal: JournalReader | None = None,
        position: int = 0,
    ) -> None:
        """`journal`: of the producer, where it keeps this output. `position`: of the last value that this flame node is
        done with; it counts for an end that loses nothing.
        """
        self._end = end
        self._stop = stop
        self._reading = reading
        self._journal = journal
        self._lossless = journal is not None and end.policy in ("block", "spill")
        self._spills = end.policy == "spill"
        self._half = end.depth // 2
        self._page = EdgePage(end.address)
        self._words = self._page.words
        self._bell = Bell(end.address)
        self._shared = SharedInput(shared, end.producer, self._words)
        self._peeked: Record | None = None
        self._held: Message | None = None  # arrived after a gap; the journal comes first
        self._stored: Iterator[Stored] | None = None
        self._is_ended = False
        self._is_special = self._spills
        self._given_up = 0  # large arrays up to this number were on their way when this flame node was started anew
        self._is_anew = False
        self._received = 0
        self._dropped = 0
        self._time = 0
        self.waits_since = 0.0  # on the clock `time.monotonic`; 0.0 while the program does not wait
        self._begin(position)
        self._socket = self._bind(context)

    def take(self, wait_s: float | None) -> Record | None:
        """The next value in order; None when there is none within `wait_s`. Raises Stopped when none will come."""
        record = self._peeked
        if record is not None:
            self._peeked = None
        elif (record := self._next(wait_s)) is None:
            return None
        self._received += 1
        self._time = record.time
        words, seq = self._words, record.seq
        words[TAKEN] = seq  # there is room for another
        if words[WAITS] and words[SENT] - seq <= self._half:
            words[WAITS] = 0
            self._bell.ring()
        return record

    def newest(self) -> Record | None:
        """The newest value that has not been taken, without waiting. Those before it are left out and counted."""
        self.peek()
        while self._peeked is not None and (newer := self._next(0)) is not None:
            self._dropped += 1
            self._peeked = newer
        return self.take(0) if self._peeked is not None else None

    def peek(self) -> bool:
        """Whether `take` would give a value at once."""
        if self._peeked is None:
            self._peeked = self._next(0)
        return self._peeked is not None

    @property
    def loses_nothing(self) -> bool:
        """Whether every value arrives, whatever crashes."""
        return self._lossless

    @property
    def is_ended(self) -> bool:
        """Whether the producer has ended and all its values were received."""
        words = self._words
        is_ended = self._is_ended or (words[FINISHED] != 0 and words[SENT] <= self._last)
        return is_ended and self._peeked is None and self._stored is None and self._held is None

    @property
    def pollable(self) -> zmq.Socket[bytes] | int:
        """What becomes readable when a value arrives."""
        return self._socket

    @property
    def producer(self) -> str:
        """ "node/output"."""
        return self._end.producer

    @property
    def count(self) -> InputCount:
        peeked = int(self._peeked is not None)
        remaining = max(0, self._words[SENT] - self._last)
        dropped = self._dropped
        if self._end.policy == "drop_new":
            unseen = max(0, min(remaining, self._words[DROPPED] - dropped))
        else:
            unseen = max(0, remaining - self._end.depth) if self._end.policy == "latest" else 0
        age_s = (time.time_ns() - self._time) / 1e9 if self._time else 0.0
        return InputCount(self._received, dropped + unseen, remaining - unseen + peeked, age_s)

    def close(self, *, in_order: bool) -> None:
        """`in_order`: the program has ended, and its producers need not wait for it."""
        if in_order:
            self._words[ENDED] = 1
            self._bell.ring()
        self._socket.close(linger=0)
        self._bell.close()
        if self._journal is not None:
            self._journal.close()

    # --- the start -----------------------------------------------------------------------------

    def _begin(self, position: int) -> None:
        words = self._words
        words[ENDED] = 0
        for slot in range(SLOTS_MAX):
            words[HOLDS + slot] = 0
        if self._lossless:
            self._last = words[TAKEN] = position
            self._catch_up(None)
            return
        self._last = words[TAKEN]
        self._is_anew = words[SENT] > 0
        # What an earlier life of this node had in its queue is gone: the producer need not wait for it to be taken.
        words[LOST] = self._given_up = words[SENT]
        words[TAKEN] = words[SENT]
        if self._journal is not None and self._end.policy == "latest":
            self._peek_last(self._journal)

    def _peek_last(self, journal: JournalReader) -> None:
        """The newest value of an earlier life of the producer, or of the time before this node was started anew."""
        stored = journal.last(self._end.stream)
        if stored is not None:
            self._last = max(self._last, stored.seq)
            self._peeked = self._read(stored.data, stored.time_ns, stored.seq)

    def _bind(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        socket = context.socket(zmq.PULL)
        socket.set(zmq.RCVTIMEO, SLICE_MS)
        socket.set(zmq.RCVHWM, 0)  # the producer counts what waits
        socket.bind(self._end.address)
        return socket

    # --- the next value ------------------------------------------------------------------------

    def _next(self, wait_s: float | None) -> Record | None:
        if wait_s is None and not self._is_special:
            # The usual case, a live value after the one before it, without the calls that the others take.
            try:
                arrived = message.decode(self._socket.recv())
            except zmq.Again:
                return self._next_by(None)
            seq = arrived.n
            if seq == self._last + 1 and arrived.k == message.VALUE and seq > self._given_up:
                self._last = seq
                try:
                    value = values.decode(arrived.v, self._shared.fetch)
                except VanishedError:
                    self._dropped += 1
                    return self._next_by(None)
                return Record(value if self._reading is None else self._reading(value), arrived.t, seq)
            record = self._accept(arrived)
            return record if record is not None else self._next_by(None)
        return self._next_by(wait_s)

    def _next_by(self, wait_s: float | None) -> Record | None:
        if wait_s == 0:
            return self._next_within(0)
        self.waits_since = time.monotonic()
        try:
            return self._next_within(wait_s)
        finally:
            self.waits_since = 0.0

    def _next_within(self, wait_s: float | None) -> Record | None:
        words = self._words
        began = time.monotonic()
        until = None if wait_s is None else began + wait_s
        while True:
            if self._stored is not None and (record := self._from_journal()) is not None:
                return record
            if self._is_ended:
                if wait_s == 0:
                    return None
                raise Stopped(f"{self._end.producer} has ended, and all its values were taken")
            if wait_s == 0 and words[SENT] <= self._last:
                return None
            arrived = self._receive(until)
            if arrived is not None:
                record = self._accept(arrived)
                if record is not None:
                    return record
                continue
            if wait_s != 0:
                self._stop.check()
            if self._lossless and words[SENT] > self._last:
                self._catch_up(None)
                continue
            self._give_up_lost(began)
            if words[FINISHED] and words[SENT] <= self._last:  # its last message may have gone to an earlier life
                self._is_ended = self._is_special = True
            elif until is not None and time.monotonic() >= until:
                return None

    def _receive(self, until: float | None) -> Message | None:
        """What arrives within a slice of time, or by `until`."""
        try:
            if self._spills and self._words[SENT] > self._last:
                return message.decode(self._socket.recv(_NOBLOCK))  # what is not here lies in the journal
            if until is None:
                return message.decode(self._socket.recv())
            wait_ms = (until - time.monotonic()) * 1e3
            if wait_ms > 0:
                self._socket.poll(min(SLICE_MS, int(wait_ms) + 1))
            return message.decode(self._socket.recv(_NOBLOCK))
        except zmq.Again:
            return None

    def _give_up_lost(self, quiet_since: float) -> None:
        """What went to an earlier life of this flame node, which took it along when it crashed, will never come."""
        words = self._words
        missing = words[SENT] - self._last
        if self._is_anew and missing > 0 and time.monotonic() - quiet_since > LOST_QUIET_S:
            self._dropped += missing
            self._last = words[TAKEN] = words[SENT]
            self._bell.ring()

    def _accept(self, arrived: Message) -> Record | None:
        seq = arrived.n
        if arrived.k != message.VALUE:
            if arrived.k == message.END:
                self._accept_end(arrived)
            if arrived.k != message.IN_JOURNAL:
                return None
        if seq != self._last + 1:
            if seq <= self._last:
                return None
            if self._lossless:
                self._after_gap(arrived, seq - 1)
                return None
            self._dropped += seq - self._last - 1
        self._last = seq
        return self._record(arrived)

    def _accept_end(self, arrived: Message) -> None:
        missing = arrived.n - self._last
        if missing > 0 and self._lossless:
            self._after_gap(arrived, arrived.n)
            return
        self._is_ended = self._is_special = True
        self._dropped += max(0, missing)
        self._last = max(self._last, arrived.n)

    def _record(self, arrived: Message) -> Record | None:
        data: Any = arrived.v
        if arrived.k == message.IN_JOURNAL and self._journal is not None:
            stored = next(self._journal.read(self._end.stream, arrived.n, arrived.n), None)
            if stored is None:  # its time was over before it was taken
                self._dropped += 1
                return None
            data = stored.data
        try:
            return self._read(data, arrived.t, arrived.n)
        except VanishedError:
            self._dropped += 1
            return None

    def _read(self, data: Any, time_ns: int, seq: int) -> Record:
        value = values.decode(data, self._shared.fetch if seq > self._given_up else _give_up)
        return Record(value if self._reading is None else self._reading(value), time_ns, seq)

    # --- the producer's journal ----------------------------------------------------------------

    def _after_gap(self, arrived: Message, last_missing: int) -> None:
        """What arrived is looked at again when the journal has given what is missing."""
        self._held = arrived
        self._catch_up(last_missing)

    def _catch_up(self, last_seq: int | None) -> None:
        """Go on in the journal, up to `last_seq` or its end."""
        assert self._journal is not None
        self._is_special = True
        self._stored = iter(self._journal.read(self._end.stream, self._last + 1, last_seq))

    def _from_journal(self) -> Record | None:
        if self._stored is None:
            return None
        stored = next(self._stored, None)
        if stored is not None:
            self._dropped += stored.seq - self._last - 1  # whose time was over: only of a state, the newest is enough
            self._last = stored.seq
            return self._read(stored.data, stored.time_ns, stored.seq)
        self._stored = None
        self._is_special = self._spills or self._is_ended
        held, self._held = self._held, None
        if held is None:
            return None
        self._pass_over_dropped(held.n)
        if held.n > self._last + 1 or (held.k == message.END and held.n > self._last):
            raise StorageError(
                Code.JOURNAL_DAMAGED,
                f"value {self._last + 1} of {self._end.producer} was sent, and its journal does not have it",
                next_step=f"look at {self._end.journal}; was it altered while the run went on?",
            )
        return self._accept(held)

    def _pass_over_dropped(self, before: int) -> None:
        """Values before that number whose time was over."""
        assert self._journal is not None
        last_dropped = min(before, self._journal.streams()[self._end.stream].first_seq) - 1
        self._dropped += max(0, last_dropped - self._last)
        self._last = max(self._last, last_dropped)
