"""Which values of finite outputs may go, and the thread that lets them go while a flame node sets others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import lmdb
import msgspec

from flame.journal.dropping import Drop, rewrite
from flame.journal.index import Index
from flame.journal.segments import Segment, TornError, segment_name, segment_numbers
from flame.limits import DROP_LOOK_S
from protocol.errors import LocalProtocolError, StorageError


class Taker(NamedTuple):
    """An input that gets every value: how far it is stands in the journal of its flame node."""

    journal: Path
    input: str

    def taken(self) -> int:
        """The last value that it is done with, as far as that is on the disk; 0 for none, or when nobody knows."""
        try:
            with contextlib.closing(Index.open(self.journal, writable=False)) as index:
                contents = index.load()
        except (lmdb.Error, OSError, msgspec.DecodeError):
            return 0
        return 0 if contents is None else contents.cursors.get(self.input, 0)


class Keeping(NamedTuple):
    """Values of a stream stay for `keep_s` seconds, and until all `takers` are done with them. The newest stays."""

    keep_s: float
    takers: tuple[Taker, ...] = ()

    def taken(self) -> int | None:
        """None: nobody asks for all of them."""
        return min((taker.taken() for taker in self.takers), default=None)


class Writer(Protocol):
    """The journal, as its keeper needs it."""

    def drop(self, lasts: Mapping[str, int]) -> Drop: ...

    def last_seqs(self) -> dict[str, int]: ...


class Going(NamedTuple):
    """Values up to `lasts` may go, of which some lie in this segment."""

    segment: int
    lasts: dict[str, int]


class Choice:
    """Chooses what may go: from the oldest segment on, and of each stream from its first value on, so that what is kept
    has no gap. The age of a value is that of the youngest in its segment. One thread.
    """

    def __init__(self, folder: Path, keeping: Mapping[str, Keeping]) -> None:
        self._folder = folder
        self._keeping = keeping
        self._keep_s = min(one.keep_s for one in keeping.values())
        self._lasts: dict[int, dict[str, int]] = {}  # by segment that has values which may go one day
        self._begin = 0  # no segment before has any

    def next(self, segments: Sequence[int], newest: Mapping[str, int], now_s: float) -> Going | None:
        """`segments`: those that are complete; `newest`: the last value of each stream, which stays.

        Raises OSError, TornError for a damaged segment, StorageError.
        """
        taken = {name: one.taken() for name, one in self._keeping.items()} if segments else {}
        lasts: dict[str, int] = {}
        staying: set[str] = set()
        for number in segments:
            if number < self._begin:
                continue
            age_s = now_s - (self._folder / segment_name(number)).stat().st_mtime
            if age_s < self._keep_s or len(staying) == len(self._keeping):
                break
            here = self._lasts_in(number)
            if not here and number == self._begin:
                self._begin += 1
            for name, seq in here.items():
                limit, keep_s = taken[name], self._keeping[name].keep_s
                if age_s < keep_s or seq >= newest[name] or (limit is not None and seq > limit):
                    staying.add(name)
                elif name not in staying:
                    lasts[name] = seq
            if not staying.issuperset(here):
                return Going(number, lasts)
        return None

    def gone(self, going: Going) -> None:
        self._lasts.pop(going.segment, None)  # to be looked at again: another stream may have values there

    def _lasts_in(self, number: int) -> dict[str, int]:
        if not self._begin:
            self._begin = number
        if number not in self._lasts:
            lasts = self._lasts[number] = {}
            for located in Segment(self._folder, number).scan(0, whole=False):
                lasts.update((piece.name, piece.seq) for piece in located.record.values if piece.name in self._keeping)
        return self._lasts[number]


class Keeper:
    """A thread that looks now and then, and lets the values of one segment go at a time."""

    def __init__(self, folder: Path, keeping: Mapping[str, Keeping], journal: Writer) -> None:
        self._folder = folder
        self._choice = Choice(folder, keeping)
        self._journal = journal
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"keeper of {folder.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Waits until a segment that is being written is whole."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(DROP_LOOK_S):
            with contextlib.suppress(StorageError, OSError, TornError, LocalProtocolError):
                # A full disk, damage, a journal that is being closed: what may go stays, and the next look may do it.
                self.look(time.time())

    def look(self, now_s: float) -> bool:
        """Whether values went. Raises what `Choice.next`, `Journal.drop` and `rewrite` raise."""
        numbers = segment_numbers(self._folder)[:-1]
        going = self._choice.next(numbers, self._journal.last_seqs(), now_s)
        if going is None:
            return False
        rewrite(self._folder, going.segment, self._journal.drop(going.lasts))
        self._choice.gone(going)
        return True
