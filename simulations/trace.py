"""The trace: one line of fixed columns for everything that happened, and the digest over all of them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Final

TAIL_LINES: Final = 60  # shown when a run fails
HEADER: Final = f"{'ms':>11}  {'node':<5}{'machine':<11}{'event':<18}detail"


class Trace:
    """Every line counts for the digest; `show` gets the main ones, or all with `everything`."""

    def __init__(self, show: Callable[[str], None] | None = None, *, everything: bool = False) -> None:
        self._show = show
        self._everything = everything
        self._hash = hashlib.sha256()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.lines = 0

    def add(self, now_ns: int, node: str, machine: str, event: str, detail: str = "", *, main: bool = False) -> None:
        line = f"{now_ns / 1e6:>11.3f}  {node:<5}{machine:<11}{event:<18}{detail}".rstrip()
        self._hash.update(line.encode() + b"\n")
        self.lines += 1
        self.tail.append(line)
        if self._show is not None and (main or self._everything):
            self._show(line)

    def digest(self) -> str:
        return self._hash.hexdigest()
