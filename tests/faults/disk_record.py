"""What SQLite asked of the disk, call by call: an APSW VFS that passes everything on and keeps a record.

The record holds what a power cut can undo: writes, truncations, new names and removed names, and the syncs that make
them last. The shared index of the log (`-shm`) is left out: SQLite builds it anew after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw

VFS_NAME = "flotta-power-cut"
# SQLite's unix VFS syncs the folder at the first sync of these, when it opened them with CREATE (`UNIXFILE_DIRSYNC`).
_NAME_SYNCED_WITH_FILE = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL


@dataclass(frozen=True)
class Made:
    """A name came into the folder. The folder knows it for good only after `FolderSynced`."""

    name: str


@dataclass(frozen=True)
class Removed:
    name: str


@dataclass(frozen=True)
class Renamed:
    """`name` took the place of `to`: one of both is found there, never neither."""

    name: str
    to: str


@dataclass(frozen=True)
class FolderSynced:
    pass


@dataclass(frozen=True)
class Written:
    name: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncated:
    name: str
    size: int


@dataclass(frozen=True)
class Synced:
    name: str


@dataclass(frozen=True)
class Issued:
    """The store was given batches up to this number."""

    batches: int


@dataclass(frozen=True)
class Acknowledged:
    """The store has said of all batches up to this number that they are on disk."""

    batches: int


DiskCall = Made | Removed | Renamed | FolderSynced | Written | Truncated | Synced
Entry = DiskCall | Issued | Acknowledged


@dataclass
class DiskRecord:
    """Everything in order, and the connections that were opened meanwhile."""

    base: str  # the VFS that really writes

    entries: list[Entry] = field(default_factory=list)
    names: set[str] = field(default_factory=set)  # in the folder now
    connections: list[apsw.Connection] = field(default_factory=list)


class _RecordedFile(apsw.VFSFile):
    def __init__(self, record: DiskRecord, filename: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__(record.base, filename, flags)
        self._record = record
        self._name = Path(filename if isinstance(filename, str) else filename.filename()).name
        self._syncs_folder = bool(flags[0] & _NAME_SYNCED_WITH_FILE and flags[0] & apsw.SQLITE_OPEN_CREATE)
        if self._name not in record.names:
            record.names.add(self._name)
            record.entries.append(Made(self._name))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802, SQLite's name
        super().xWrite(data, offset)
        self._record.entries.append(Written(self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._record.entries.append(Truncated(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._record.entries.append(Synced(self._name))
        if self._syncs_folder:
            self._record.entries.append(FolderSynced())
            self._syncs_folder = False


class _RecordedDisk(apsw.VFS):
    def __init__(self, record: DiskRecord) -> None:
        self._record = record
        super().__init__(VFS_NAME, base=record.base, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:  # a temporary file: nothing of it outlives its process
            return apsw.VFSFile(self._record.base, name, flags)
        return _RecordedFile(self._record, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        name = Path(filename).name
        self._record.names.discard(name)
        self._record.entries.append(Removed(name))
        if syncdir:
            self._record.entries.append(FolderSynced())


@contextmanager
def recorded_disk() -> Iterator[DiskRecord]:
    """Within it every database of this process is opened through the recording VFS, which is SQLite's default then.

    So the store is the product's own, without an option for tests. A file that the store itself made beforehand
    counts as made when SQLite opens it. Close all databases before leaving.
    """
    record = DiskRecord(base=apsw.vfs_names()[0])
    vfs = _RecordedDisk(record)
    apsw.connection_hooks.append(record.connections.append)
    try:
        yield record
    finally:
        apsw.connection_hooks.remove(record.connections.append)
        apsw.set_default_vfs(record.base)
        vfs.unregister()
