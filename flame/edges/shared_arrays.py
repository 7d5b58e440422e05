"""Payloads of large arrays, in files that producer and consumers map: written once, read where they lie.

An output owns slots, files of the run's `shared` folder. A slot is free when its value has left the queue of every
edge and no consumer's program still has the array: each consumer marks in its edge's page what it holds, and takes the
mark away when the last view of the array is gone. So a program may keep an array as long as it likes; the producer
takes another slot, and when SHARED_BYTES_MAX or the room there is reached the array travels in the message. The
executor removes the folder, so that nothing stays after a crash.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flame.edges.edge_page import HOLDS, SLOTS_MAX
from flame.limits import SHARED_BYTES_MAX, SHARED_STEP_BYTES

if TYPE_CHECKING:
    from flame.edges.sending import SendingEnd

_REFERENCE: Final = struct.Struct("<IIQ")  # slot, its edition, bytes of the payload


class NoRoom(Exception):
    """Every slot is in use, and another would be too much: the array travels in the message."""


class VanishedError(Exception):
    """The payload is not there any more: another may lie in its place, or the system has cleared its memory."""


def _file(folder: Path, output: str, slot: int, edition: int) -> Path:
    return folder / f"{output.replace('/', '.')}.{slot}.{edition}"


def _files(folder: Path, output: str) -> list[Path]:
    named = re.compile(re.escape(output.replace("/", ".")) + r"\.\d+\.\d+")
    return [file for file in folder.glob("*") if named.fullmatch(file.name)]


class _Slot:
    def __init__(self, path: Path, size: int, edition: int) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:  # systemd may clear the memory of a user who logs out, the folder too
            raise NoRoom from error
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, size)  # else writing where there is no room ends the process by SIGBUS
            else:
                os.ftruncate(fd, size)
            self.map = mmap.mmap(fd, size)
        except OSError as error:
            path.unlink()
            raise NoRoom from error
        finally:
            os.close(fd)
        self.path = path
        self.size = size
        self.edition = edition
        self.seq = 0


class SharedOutput:
    """The producer's side of one output. It belongs to the thread that sets."""

    def __init__(self, folder: Path, output: str, edges: Sequence[SendingEnd], life: int) -> None:
        """`output`: "node/output". `life`: how often this flame node was started, so that no file is taken twice."""
        self._folder = folder
        self._output = output
        self._edges = edges
        self._slots: list[_Slot] = []
        self._first_edition = self._edition = life << 20
        self._sent_before = [(edge, edge.sent) for edge in edges]  # by earlier lives, whose files stay for a while
        self._seq = 0
        self.placed_bytes = 0

    def begin(self, seq: int) -> None:
        """The next payloads belong to value `seq`."""
        self._seq = seq
        self.placed_bytes = 0

    def place(self, payload: memoryview) -> bytes:
        """A reference to a copy of `payload`. Raises NoRoom."""
        number, slot = self._free_slot(payload.nbytes)
        slot.seq = self._seq
        slot.map[: payload.nbytes] = payload
        self.placed_bytes += payload.nbytes
        return _REFERENCE.pack(number, slot.edition, payload.nbytes)

    def _free_slot(self, size: int) -> tuple[int, _Slot]:
        small = None
        for number, slot in enumerate(self._slots):
            if self._is_free(number, slot):
                if slot.size >= size and slot.path.exists():
                    return number, slot
                small = number
        room = SHARED_BYTES_MAX - sum(slot.size for slot in self._slots)
        wanted = -(-size // SHARED_STEP_BYTES) * SHARED_STEP_BYTES
        if small is not None:
            room += self._slots[small].size
        if wanted > room or (small is None and len(self._slots) == SLOTS_MAX):
            raise NoRoom
        return self._make(small, wanted)

    def _make(self, instead_of: int | None, size: int) -> tuple[int, _Slot]:
        self._remove_earlier()
        number = len(self._slots) if instead_of is None else instead_of
        self._edition += 1
        slot = _Slot(_file(self._folder, self._output, number, self._edition), size, self._edition)
        if instead_of is None:
            self._slots.append(slot)
        else:
            self._slots[number].path.unlink(missing_ok=True)
            self._slots[number] = slot
        return number, slot

    def _remove_earlier(self) -> None:
        """Files of earlier lives, once all that they sent was taken; who has an array of one keeps it all the same."""
        if self._sent_before and all(edge.released(seq) for edge, seq in self._sent_before):
            self._sent_before = []
            for file in _files(self._folder, self._output):
                if int(file.suffix[1:]) <= self._first_edition:
                    file.unlink(missing_ok=True)

    def _is_free(self, number: int, slot: _Slot) -> bool:
        return slot.seq != self._seq and all(
            edge.released(slot.seq) and not edge.page.words[HOLDS + number] for edge in self._edges
        )


class SharedInput:
    """The consumer's side of one edge. It belongs to the thread that receives; arrays may be dropped in any."""

    def __init__(self, folder: Path, producer: str, words: memoryview) -> None:
        self._folder = folder
        self._producer = producer
        self._words = words
        self._maps: dict[int, tuple[int, mmap.mmap]] = {}

    def fetch(self, reference: bytes) -> memoryview:
        """The payload, read-only, for as long as somebody has a view of it."""
        import numpy as np

        number, edition, size = _REFERENCE.unpack(reference)
        payload: Any = np.frombuffer(self._map(number, edition), np.uint8, size)
        payload.flags.writeable = False
        self._words[HOLDS + number] = 1
        weakref.finalize(payload, self._let_go, self._words, HOLDS + number).atexit = False
        return memoryview(payload)

    def _map(self, number: int, edition: int) -> mmap.mmap:
        known = self._maps.get(number)
        if known is not None and known[0] == edition:
            return known[1]
        try:
            with _file(self._folder, self._producer, number, edition).open("r+b") as file:
                mapped = mmap.mmap(file.fileno(), 0)
        except FileNotFoundError as error:
            raise VanishedError from error
        self._maps[number] = (edition, mapped)
        return mapped

    @staticmethod
    def _let_go(words: memoryview, word: int) -> None:
        words[word] = 0
