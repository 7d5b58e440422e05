"""Whether this process has grown by more than the wire may account for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from protocol.limits import WIRE_GROWTH_BYTES_MAX

_STATM: Final = Path("/proc/self/statm")


def private_bytes() -> int:
    """Resident memory that is this process' own; 0 on systems that do not tell."""
    try:
        _, resident, shared, *_ = _STATM.read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Remembers the smallest size that was seen; one owner, one thread."""

    def __init__(self, size_bytes: Callable[[], int] = private_bytes) -> None:
        self._size_bytes = size_bytes
        self._floor_bytes = size_bytes()

    def has_grown(self) -> bool:
        """True once for every WIRE_GROWTH_BYTES_MAX of growth."""
        size_bytes = self._size_bytes()
        grown = size_bytes - self._floor_bytes > WIRE_GROWTH_BYTES_MAX
        self._floor_bytes = size_bytes if grown else min(size_bytes, self._floor_bytes)
        return grown
