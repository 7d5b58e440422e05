"""The file that HDF5 writes to, which it can close whatever the disk says."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flame.run.whole_files import like_its_folder

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class DiskFile(io.RawIOBase):
    """A new file at `path`, as h5py takes one in place of a name.

    HDF5 cannot close a file that it cannot write: it tries again at the end of the process, with tracebacks or a crash.
    So a refusal of the disk is kept, and what HDF5 still wants to write until it has closed stays in memory. `check`
    raises the refusal, an OSError: to be asked between two writes, and when HDF5 has closed the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b", buffering=0, opener=like_its_folder)  # noqa: SIM115 closed by `close`
        self._refusal: OSError | None = None
        self._unwritten: list[tuple[int, bytes]] = []  # bounded by a block of values and the caches of HDF5

    def check(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def close(self) -> None:
        self._file.close()
        super().close()

    # --- what h5py calls -------------------------------------------------------------------------

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: WriteableBuffer) -> int:
        """All of it: zeros stand behind the end."""
        at = self._file.tell()
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        for start, data in self._unwritten:
            low, high = max(at, start), min(at + len(view), start + len(data))
            if low < high:
                view[low - at : high - at] = data[low - start : high - start]
        self._file.seek(at + len(view))
        return len(view)

    def write(self, data: ReadableBuffer) -> int:
        view = memoryview(data).cast("B")
        at = self._file.tell()
        try:
            done = 0
            while self._refusal is None and done < len(view):
                done += self._file.write(view[done:]) or 0
        except OSError as error:
            self._refusal = error
        if self._refusal is not None:
            self._unwritten.append((at, bytes(view)))
            self._file.seek(at + len(view))
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._refusal = self._refusal or error
            return self._file.tell() if size is None else size

    def flush(self) -> None:
        """Nothing waits here."""
