"""What HDF5 and the disk refuse, as the error that names the archive."""

from __future__ import annotations

from pathlib import Path

from flame.refusals import refusal
from protocol.errors import Code, StorageError


def named(path: Path, error: OSError | RuntimeError) -> StorageError:
    refused = refusal(error)
    if refused.is_full:
        return StorageError(
            Code.DISK_FULL,
            f"the disk that holds {path} is full; nothing of the archive was kept, the journals are as they were",
            next_step="make room on that disk, then `flame archive`",
        )
    return StorageError(
        refused.code,
        f"the archive {path} cannot be written or read: {refused.why}",
        next_step=f"{refused.next_step}, then `flame archive`; the journals are as they were",
    )
