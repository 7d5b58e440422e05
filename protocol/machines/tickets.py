"""What was asked of the store, by number, until it answers."""

from __future__ import annotations

from typing import Generic, TypeVar

from protocol.limits import TICKET_MS
from protocol.machines.contract import Now

T = TypeVar("T")


class Tickets(Generic[T]):
    """At most `places` wait. An answer that was lost, since an inbox was full, gives its place back after TICKET_MS."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._last = 0
        # Number → (asked at, boot ns; what), the oldest first.
        self._waiting: dict[int, tuple[int, T]] = {}  # bounded by `places`

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, what: T, now: Now) -> int | None:
        """Its number, or None while all places are taken."""
        while self._waiting:
            oldest = next(iter(self._waiting))
            if self._waiting[oldest][0] + TICKET_MS * 1_000_000 > now.boot_ns:
                break
            del self._waiting[oldest]
        if len(self._waiting) >= self._places:
            return None
        self._last += 1
        self._waiting[self._last] = (now.boot_ns, what)
        return self._last

    def pop(self, number: int) -> T | None:
        """What waited under this number; None for one that was given back, or never was."""
        waiting = self._waiting.pop(number, None)
        return waiting[1] if waiting else None
