"""Files of a run, in which somebody else may have laid anything: a pipe on which one would wait, a link elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_ordinary(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor, at once. A new file is this user's alone. Raises OSError, for a pipe, a device or a folder too."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no ordinary file")
