"""What one flame node has done so far, committed as one: outputs, memory, and positions in its inputs.

A value is done with when the set that follows it is committed; or, when no set follows, when the program asks the same
input for the next one. So a program that takes a value of each of two inputs and then sets is never restarted between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flame.library import memory as remembering
from flame.library.memory import Memory

if TYPE_CHECKING:
    from flame.journal import Journal


class Commits:
    """Without a journal nothing is kept. Any thread; one commit at a time."""

    def __init__(self, journal: Journal | None, memory: Memory | None) -> None:
        self.lock = threading.RLock()
        self._journal = journal
        self._memory = memory
        self._positions: dict[str, int] = {}  # taken since the last commit

    @property
    def keeps(self) -> bool:
        """Whether there is anything to keep, and a journal for it."""
        return self._journal is not None

    def taken(self, name: str, seq: int) -> None:
        """Value `seq` of the journalled input `name` was given to the program."""
        self._positions[name] = seq

    def before_next(self, name: str) -> None:
        """The program asks the input `name` for its next value."""
        if name in self._positions:
            self.commit({}, time.time_ns())

    def commit(self, outputs: Mapping[str, bytes], time_ns: int, *, durable: bool = False) -> dict[str, int]:
        """The numbers of the values. Raises StorageError; then nothing of it is kept."""
        with self.lock:
            changed = {} if self._memory is None else remembering.changed(self._memory)
            if self._journal is None or not (outputs or changed or self._positions):
                return {}
            positions, self._positions = self._positions, {}
            if not outputs and not changed:
                self._journal.advance(positions)
                return {}
            return self._journal.append(outputs, time_ns, memory=changed, cursors=positions, durable=durable)

    def close(self) -> None:
        """What was taken and what is remembered is committed before: the program has ended in order."""
        if self._journal is not None:
            self._journal.close()
