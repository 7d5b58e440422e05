"""One thread that tells actors when their time has come, by the boot clock."""

from __future__ import annotations

import heapq
import itertools
import threading
from typing import NamedTuple

from actors.base import ActorHandle
from actors.ports import Clock
from protocol.errors import LocalProtocolError
from protocol.limits import TIMER_SLEEP_MS_MAX, TIMERS_MAX
from protocol.machines.contract import TimerFired

_SHORT_HEAP = 64  # below this many entries replaced timers are not worth sweeping


class _Entry(NamedTuple):
    at_ns: int
    order: int  # equal times fire in the order in which they were set; also keeps handles from being compared
    owner: ActorHandle
    name: str
    generation: int


class TimerService:
    """Timers of all actors of a node. Any thread may call; no call waits for more than the lock.

    A timer that comes due tells its owner `TimerFired(name, generation)`, which an inbox always admits. The
    owner being down loses it: an actor sets its timers again when it begins. After a suspend, due timers fire
    within `TIMER_SLEEP_MS_MAX`, since waits of the operating system need not count it.
    """

    def __init__(self, clock: Clock, limit: int = TIMERS_MAX) -> None:
        self._clock = clock
        self._limit = limit
        self._changed = threading.Condition()
        self._live: dict[tuple[ActorHandle, str], _Entry] = {}
        self._heap: list[_Entry] = []  # live entries and those replaced or cleared since the last sweep
        self._order = itertools.count()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; a moment, since it never blocks. Timers still set never fire."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def set(self, owner: ActorHandle, name: str, at_ns: int, generation: int = 0) -> None:
        """Fire at `at_ns`, at once when that has passed. Replaces the owner's timer of the same name.

        Raises LocalProtocolError beyond `TIMERS_MAX`: machines are bounded, so it is a bug.
        """
        key = (owner, name)
        with self._changed:
            if key not in self._live and len(self._live) >= self._limit:
                raise LocalProtocolError(f"{owner.name} wants timer {name}, but all {self._limit} timers are set.")
            entry = _Entry(at_ns, next(self._order), owner, name, generation)
            self._live[key] = entry
            heapq.heappush(self._heap, entry)
            self._sweep()
            if self._heap[0] is entry:
                self._changed.notify()

    def clear(self, owner: ActorHandle, name: str) -> None:
        """Forget a timer. Clearing what is not set is no fault; one that has just fired may still arrive."""
        with self._changed:
            self._live.pop((owner, name), None)
            self._sweep()

    def clear_all(self, owner: ActorHandle) -> None:
        """Forget every timer of `owner`: those of an earlier incarnation mean nothing to the next."""
        with self._changed:
            for key in [key for key in self._live if key[0] is owner]:
                del self._live[key]
            self._sweep()

    def _sweep(self) -> None:
        """Keep the heap within twice the live timers, however often they are replaced."""
        if len(self._heap) > max(_SHORT_HEAP, 2 * len(self._live)):
            self._heap = list(self._live.values())
            heapq.heapify(self._heap)

    def _run(self) -> None:
        with self._changed:
            while not self._stopping:
                self._changed.wait(self._fire_due() / 1e9)

    def _fire_due(self) -> int:
        """Tell the owners of all due timers; the nanoseconds until there may be something to do again."""
        now_ns = self._clock.now().boot_ns
        while self._heap and self._heap[0].at_ns <= now_ns:
            entry = heapq.heappop(self._heap)
            if self._live.get((entry.owner, entry.name)) is entry:
                del self._live[entry.owner, entry.name]
                entry.owner.tell(TimerFired(name=entry.name, generation=entry.generation))
        longest_ns = TIMER_SLEEP_MS_MAX * 1_000_000
        return min(self._heap[0].at_ns - now_ns, longest_ns) if self._heap else longest_ns
