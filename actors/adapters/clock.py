"""The only place of the actors that reads a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from protocol.machines.contract import Now


def _boot_reader() -> Callable[[], int]:
    """CLOCK_BOOTTIME counts suspend; where the system has none (macOS), the monotonic clock must do."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns if clock_id is None else partial(time.clock_gettime_ns, clock_id)


class SystemClock:
    """The clocks of this machine. Any thread may use it."""

    def __init__(self) -> None:
        self._boot_ns = _boot_reader()

    def now(self) -> Now:
        return Now(self._boot_ns(), int(time.time() * 1_000))
