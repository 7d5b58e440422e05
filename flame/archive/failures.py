"""What HDF5 and the disk refuse, as the error that names the archive."""

from __future__ import annotations

import errno
from pathlib import Path

from protocol.errors import Code, StorageError


def named(path: Path, error: OSError | RuntimeError) -> StorageError:
    """h5py gives the number of the system's error now as a number, now within its text."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC or f"errno = {errno.ENOSPC}" in str(error):
        return StorageError(
            Code.DISK_FULL,
            f"the disk that holds {path} is full; nothing of the archive was kept, the journals are as they were",
            next_step="make room on that disk, then `flame archive`",
        )
    return StorageError(
        Code.DATABASE_FAILED,
        f"the archive {path} cannot be written or read: {error}",
        next_step="look at the disk, then `flame archive`; the journals are as they were",
    )
