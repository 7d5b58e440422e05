"""What a power cut leaves of a recorded disk: the synced for certain, of the rest any part.

Harsher than most disks and file systems: each write that was not synced survives or not on its own, whatever came
before and after it; the last ones may be torn at sectors; new and removed names last only when the folder was synced,
each name on its own. Kinder in one thing: bytes beside a write are never damaged, which SQLite takes for granted too
(`SQLITE_POWERSAFE_OVERWRITE`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.faults.disk_record import DiskCall, FolderSynced, Made, Removed, Renamed, Synced, Truncated, Written

SECTOR_BYTES = 512
TORN_WRITES_MAX = 3  # of one file: the last ones that were not synced
SURVIVAL = (0.5, 0.5, 0.5, 0.9)  # chance of each write in an image; the high one lets whole transactions through


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Written | Truncated] = field(default_factory=list)

    def sync(self) -> None:
        for call in self.pending:
            _apply(self.synced, call)
        self.pending.clear()

    def after_power_cut(self, random: Random, survival: float) -> bytes:
        content = bytearray(self.synced)
        for left, call in zip(range(len(self.pending), 0, -1), self.pending, strict=True):
            if random.random() >= survival:
                continue
            if isinstance(call, Written) and left <= TORN_WRITES_MAX and random.random() < 0.5:
                for piece in _sectors(call):
                    if random.random() < 0.5:
                        _apply(content, piece)
            else:
                _apply(content, call)
        return bytes(content)


class Disk:
    """Give it the calls in their order; ask it for images in between."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}  # by name, as the running program sees them
        self._synced_names: dict[str, _File] = {}
        self._name_changes: dict[str, list[_File | None]] = {}  # since the folder was synced; None: removed

    def apply(self, call: DiskCall) -> None:
        match call:
            case Made(name=name):
                self._files[name] = _File()
                self._name_changes.setdefault(name, []).append(self._files[name])
            case Removed(name=name):
                del self._files[name]
                self._name_changes.setdefault(name, []).append(None)
            case Renamed(name=name, to=to):
                self._files[to] = self._files.pop(name)
                self._name_changes.setdefault(to, []).append(self._files[to])
                self._name_changes.setdefault(name, []).append(None)
            case FolderSynced():
                self._synced_names = dict(self._files)
                self._name_changes.clear()
            case Written(name=name) | Truncated(name=name):
                self._files[name].pending.append(call)
            case Synced(name=name):
                self._files[name].sync()

    def image(self, random: Random) -> dict[str, bytes]:
        """The files that are found after a power cut now."""
        survival = random.choice(SURVIVAL)
        found = dict[str, bytes]()
        for name in sorted(self._synced_names.keys() | self._name_changes.keys()):
            states = [self._synced_names.get(name), *self._name_changes.get(name, [])]
            file = random.choice(states)
            if file is not None:
                found[name] = file.after_power_cut(random, survival)
        return found


def _apply(content: bytearray, call: Written | Truncated) -> None:
    if isinstance(call, Truncated):
        del content[call.size :]
        content.extend(bytes(call.size - len(content)))
        return
    content.extend(bytes(max(0, call.offset - len(content))))
    content[call.offset : call.offset + len(call.data)] = call.data


def _sectors(call: Written) -> list[Written]:
    """The write in pieces that each lie within one sector of the file."""
    end = call.offset + len(call.data)
    starts = [call.offset, *range(call.offset - call.offset % SECTOR_BYTES + SECTOR_BYTES, end, SECTOR_BYTES)]
    return [
        Written(call.name, start, call.data[start - call.offset : stop - call.offset])
        for start, stop in zip(starts, [*starts[1:], end], strict=True)
    ]
