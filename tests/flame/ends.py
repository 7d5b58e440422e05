"""Both ends of one edge in one process, for tests."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from flame import values
from flame.control import InputEnd, OutputEnd
from flame.edges import message
from flame.edges.newest import NewestEnd
from flame.edges.receiving import ReceivingEnd
from flame.edges.sending import SendingEnd
from flame.journal import JournalReader
from flame.library.stopping import StopFlag
from flame.ports import Policy

LIMIT_S = 20.0


class Ends:
    """Makes ends of one edge; closes what it made."""

    def __init__(self, folder: Path, policy: Policy, depth: int, journal: Path | None = None) -> None:
        self.stop = StopFlag()
        self.folder = folder
        self._policy: Policy = policy
        self._depth = depth
        self._journal = journal
        self._address = f"ipc://{folder}/1"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.made: list[SendingEnd | ReceivingEnd] = []

    def sending(self) -> SendingEnd:
        end = SendingEnd(self._context, OutputEnd("v", "sink/v", self._address, self._policy, self._depth), self.stop)
        self.made.append(end)
        return end

    def receiving(self, position: int = 0) -> ReceivingEnd:
        journal = "" if self._journal is None else str(self._journal)
        end = InputEnd("v", "source/v", self._address, self._policy, self._depth, journal=journal, stream="v")
        reader = None if self._journal is None else JournalReader(self._journal)
        kind = NewestEnd if self._policy == "latest" else ReceivingEnd
        made = kind(self._context, end, self.folder, self.stop, journal=reader, position=position)
        self.made.append(made)
        return made

    def close(self) -> None:
        for end in self.made:
            crash(end)
        self._context.destroy(linger=0)


def crash(end: SendingEnd | ReceivingEnd) -> None:
    """The end is gone, as after a crash: nothing was told to the other."""
    if isinstance(end, SendingEnd):
        end.close(linger_ms=0)
    else:
        end.close(in_order=False)


@contextmanager
def ends(policy: Policy, depth: int, journal: Path | None = None) -> Iterator[Ends]:
    with tempfile.TemporaryDirectory(prefix="f", dir="/tmp") as folder:
        made = Ends(Path(folder), policy, depth, journal)
        try:
            yield made
        finally:
            made.close()


def send(end: SendingEnd, *numbers: int) -> None:
    for number in numbers:
        data = values.encode(number)
        end.send(number, message.encode_value(number, 1, data), len(data))


def finish(end: SendingEnd, last: int) -> None:
    end.finish(message.encode(message.END, last))


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < until, "the condition did not hold within the limit"
        time.sleep(0.001)


def taken(end: ReceivingEnd, count: int) -> list[int]:
    records = [end.take(LIMIT_S) for _ in range(count)]
    return [record.value for record in records if record is not None]
