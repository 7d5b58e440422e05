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


class Droppable(Protocol):
    """The journal, as dropping needs it."""

    def drop(self, lasts: Mapping[str, int]) -> Drop: ...

    def last_seqs(self) -> dict[str, int]: ...


class Span(NamedTuple):
    """The values of a stream in a segment."""

    first: int
    last: int


class Going(NamedTuple):
    """Values up to `lasts` may go, of which some lie in this segment."""

    segment: int
    lasts: dict[str, int]


class Choice:
    """Chooses what may go: from the oldest segment on, and of each stream from its first value on, so that what is kept
    has no gap. The age of a value is that of the youngest in its segment. One thread.
    """

    def __init__(self, folder: Path, keeping: Mapping[str, Keeping], *, has_ended: bool = False) -> None:
        """`has_ended`: no consumer takes anything any more. Else values of a segment wait until all were taken, since a
        segment should not be written anew too often.
        """
        self._folder = folder
        self._keeping = keeping
        self._has_ended = has_ended
        self._keep_s = min(one.keep_s for one in keeping.values())
        self._spans: dict[int, dict[str, Span]] = {}  # by segment that has values which may go one day
        self._begin: int | None = None  # no segment before has any; None: it has not looked yet

    def next(self, segments: Sequence[int], newest: Mapping[str, int], now_s: float) -> Going | None:
        """The oldest segment with values that may go, None for none. `segments`: those that are complete; `newest`: the
        last value of each stream, which stays.

        Raises OSError, TornError for a damaged segment, StorageError.
        """
        taken: dict[str, int | None] = {}  # asked when something is old enough
        staying: set[str] = set()
        for number in segments:
            if self._begin is not None and number < self._begin:
                continue
            age_s = now_s - (self._folder / segment_name(number)).stat().st_mtime
            if age_s < self._keep_s or len(staying) == len(self._keeping):
                break
            here = self._spans_in(number)
            if not here and number == self._begin:
                self._begin += 1
                del self._spans[number]
            if lasts := self._going_here(here, newest, age_s, taken, staying):
                return Going(number, lasts)
        return None

    def _going_here(
        self,
        here: Mapping[str, Span],
        newest: Mapping[str, int],
        age_s: float,
        taken: dict[str, int | None],
        staying: set[str],
    ) -> dict[str, int]:
        """The last value to go of each stream that has some here. Adds to `taken` what it asked, and to `staying` the
        streams of which something stays here: of them nothing goes in later segments.
        """
        lasts: dict[str, int] = {}
        for name, span in here.items():
            last = 0
            if age_s >= self._keeping[name].keep_s and name not in staying:
                if name not in taken:
                    taken[name] = self._keeping[name].taken()
                last = self._last_to_go(span, newest[name], taken[name])
            if last >= span.first:
                lasts[name] = last
            if last < span.last:
                staying.add(name)
        return lasts

    def gone(self, going: Going) -> None:
        self._spans.pop(going.segment, None)  # to be looked at again: it may have others that go later

    def _last_to_go(self, span: Span, newest: int, taken: int | None) -> int:
        """0 for none."""
        last = min(span.last, newest - 1)
        if taken is None or taken >= last:
            return last
        return taken if self._has_ended else 0

    def _spans_in(self, number: int) -> dict[str, Span]:
        if self._begin is None:
            self._begin = number
        if number not in self._spans:
            spans = self._spans[number] = {}
            for located in Segment(self._folder, number).scan(0, whole=False):
                for piece in located.record.values:
                    if piece.name in self._keeping:
                        first = spans[piece.name].first if piece.name in spans else piece.seq
                        spans[piece.name] = Span(first, piece.seq)
        return self._spans[number]


def drop_next(folder: Path, choice: Choice, journal: Droppable, now_s: float) -> bool:
    """Let the values of one segment go; False: none may. Raises what `Choice.next`, `Journal.drop`, `rewrite` raise."""
    going = choice.next(segment_numbers(folder)[:-1], journal.last_seqs(), now_s)
    if going is None:
        return False
    rewrite(folder, going.segment, journal.drop(going.lasts))
    choice.gone(going)
    return True


class Dropping:
    """A thread that looks now and then, and lets the values of one segment go after another."""

    def __init__(self, folder: Path, choice: Choice, journal: Droppable) -> None:
        self._folder = folder
        self._choice = choice
        self._journal = journal
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"dropping in {folder.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Waits until a segment that is being written is whole."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        went = False
        while not self._stopping.wait(0.0 if went else DROP_LOOK_S):
            went = False
            with contextlib.suppress(StorageError, OSError, TornError, LocalProtocolError):
                # A full disk, damage, a journal that is being closed: what may go stays, and the next look may do it.
                went = drop_next(self._folder, self._choice, self._journal, time.time())
