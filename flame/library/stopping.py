"""How a flame node learns that it shall end: one flag for its program, its edges and its control thread."""

from __future__ import annotations

import threading


class Stopped(SystemExit):
    """No value will come any more: the run is stopping, or all data are used up.

    Raised by whatever would wait for one. Where nobody catches it, the program ends quietly with exit code 0, and
    `except Exception` of a program does not swallow it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(0)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class StopFlag:
    """Set once, from any thread; `reason` is the first one given. Reading `is_set` costs an attribute."""

    def __init__(self) -> None:
        self.is_set = False
        self.reason = ""
        self._event = threading.Event()
        self._lock = threading.Lock()

    def set(self, reason: str) -> None:
        with self._lock:
            if not self.is_set:
                self.reason = reason
                self.is_set = True
        self._event.set()

    def wait(self, limit_s: float) -> bool:
        """Whether it is set within `limit_s`."""
        return self._event.wait(limit_s)

    def check(self) -> None:
        """Raises Stopped when it is set."""
        if self.is_set:
            raise Stopped(self.reason)
