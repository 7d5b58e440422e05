"""How far the two ends of an edge have come: a page of shared memory and a wake-up, beside the edge's socket.

Values travel by ZeroMQ; ZeroMQ does not tell how many of them wait. So each end writes down in 64-bit words how far it
is, and the other reads it, without a message, a system call or a lock: each word has one writer. With it `depth` is
exact for every policy, counters are exact, and numbers go on after a crash of either end, since the page outlives both.

    word     writer     meaning
    SENT     producer   number of the newest value, written before it is sent or left out
    TAKEN    consumer   number up to which values have left the queue: given to the program, or left out
    DROPPED  producer   values that a `drop_new` edge left out
    LOST     consumer   number up to which large arrays on their way were given up, when this consumer was started anew
    ENDED    consumer   1: it has ended in order and takes no more
    FINISHED producer   1: it has ended in order, and SENT is its last value
    WAITS    both       1: the producer waits for the bell; whoever rings clears it
    HOLDS+k  consumer   1: its program still has the array in slot k of the producer's shared memory
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
from pathlib import Path
from typing import Final

from flame.limits import EDGE_PAGE_BYTES

SENT: Final = 0
TAKEN: Final = 1
DROPPED: Final = 2
LOST: Final = 3
ENDED: Final = 4
WAITS: Final = 5
FINISHED: Final = 6
HOLDS: Final = 16
SLOTS_MAX: Final = EDGE_PAGE_BYTES // 8 - HOLDS

_SCHEME: Final = "ipc://"


class EdgePage:
    """One end's view of the page. Whoever comes first makes it."""

    def __init__(self, address: str) -> None:
        """`address`: ZeroMQ address of the edge. Raises OSError."""
        path = Path(address.removeprefix(_SCHEME) + ".page")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, EDGE_PAGE_BYTES)
            self.words = memoryview(mmap.mmap(fd, EDGE_PAGE_BYTES)).cast("Q")
        finally:
            os.close(fd)


class Bell:
    """Wakes the producer of one edge. It never blocks whoever rings; what is rung while nobody waits is kept."""

    def __init__(self, address: str) -> None:
        path = address.removeprefix(_SCHEME) + ".bell"
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of rings already
            os.write(self._fd, b"\0")

    def wait(self, limit_ms: int) -> None:
        if self._poll.poll(limit_ms):
            with contextlib.suppress(BlockingIOError):
                os.read(self._fd, 4_096)

    def close(self) -> None:
        os.close(self._fd)
