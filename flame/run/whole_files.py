"""Small files of a run that somebody else may have laid there: read whole, with a bound, and never waited for."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_whole(path: Path, bytes_max: int) -> bytes:
    """Raises OSError, for a pipe or a device and for more than `bytes_max` too."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        if facts.st_size > bytes_max:
            raise OSError(errno.EFBIG, f"it has {facts.st_size} bytes, and at most {bytes_max} are read")
        return file.read(facts.st_size)
