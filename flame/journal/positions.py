"""How far a flame node is in its inputs, beside its journal: 8 bytes for each, written over.

A step that keeps nothing but a position is frequent, and a record for each costs more than the value. So the position
is written here at once, in the page cache: it survives the end of the process. A power cut is the journal's matter: it
gets the newest positions as a record with each sync, and this file counts only within the boot that wrote it, so that
it is never newer than a journal that has lost its end.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from flame.ordinary_files import open_ordinary

_FILE: Final = "positions"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_WORD: Final = struct.Struct("<Q")


class _Head(msgspec.Struct):
    """What the file begins with, behind a word that tells its length; then a word for each input."""

    boot: str
    inputs: list[str]


_encoder: Final = msgspec.msgpack.Encoder()
_head: Final = msgspec.msgpack.Decoder(_Head)


class Positions:
    """The writer's side. One thread at a time. Raises OSError."""

    def __init__(self, folder: Path, inputs: Sequence[str]) -> None:
        """Takes the place of the file of an earlier life, whose positions the journal has by now."""
        head = _encoder.encode(_Head(_boot(), list(inputs)))
        begin = _WORD.size + len(head)
        self._offsets: Final = {name: begin + _WORD.size * i for i, name in enumerate(inputs)}
        fresh = folder / f"{_FILE}.new"
        self._descriptor = open_ordinary(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            os.pwrite(self._descriptor, _WORD.pack(len(head)) + head + bytes(_WORD.size * len(inputs)), 0)
            fresh.replace(folder / _FILE)
        except BaseException:
            os.close(self._descriptor)
            raise

    def write(self, name: str, seq: int) -> None:
        os.pwrite(self._descriptor, _WORD.pack(seq), self._offsets[name])

    def close(self) -> None:
        os.close(self._descriptor)


def read_positions(folder: Path) -> dict[str, int]:
    """As an earlier life within this boot wrote them. Only for the holder of the journal's lock."""
    try:
        data = (folder / _FILE).read_bytes()
        (length,) = _WORD.unpack_from(data)
        begin = _WORD.size + length
        head = _head.decode(data[_WORD.size : begin])
        found = _WORD.iter_unpack(data[begin : begin + _WORD.size * len(head.inputs)])
        positions = {name: seq for name, (seq,) in zip(head.inputs, found, strict=True) if seq}
    except (FileNotFoundError, struct.error, msgspec.DecodeError, ValueError):
        return {}  # none, or one of a start that was broken off: the journal knows
    return positions if head.boot == _boot() else {}


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
