"""One writer in a journal's folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

from flame.limits import JOURNAL_LOCK_S
from flame.ordinary_files import open_ordinary
from protocol.errors import Code, ConfigError

_AGAIN_S: Final = 0.02
_NOTE_BYTES_MAX: Final = 32  # a process id


def lock_folder(folder: Path) -> int:
    """Hold the folder until the descriptor that this gives is closed, or any end of this process.

    Waits JOURNAL_LOCK_S for another to let go, then raises ConfigError(FOLDER_LOCKED), naming its process. Raises
    OSError where the file system cannot lock.
    """
    descriptor = open_ordinary(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        deadline = time.monotonic() + JOURNAL_LOCK_S
        while not _try(descriptor):
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, _NOTE_BYTES_MAX, 0).decode("ascii", "replace").strip()
                raise ConfigError(
                    Code.FOLDER_LOCKED,
                    f"the journal {folder} is written by process {holder or 'unknown'}",
                    next_step="wait for that run to end, or stop it",
                )
            time.sleep(_AGAIN_S)
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
