"""Whether a file is locked by some living process, without taking the lock from anyone, not even for an instant."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def is_locked(descriptor: int) -> bool:
    """Linux lists the locks of all processes that this one can see. What stands there by its number may be a file of
    another disk, made for that by another user; so the lock is then tried, shared, which takes it from nobody who has
    it. Elsewhere it is tried always, for an instant.
    """
    if _is_listed(os.fstat(descriptor)) is False:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def is_file_locked(path: Path) -> bool:
    """Of a file that this user may not open; false where the system does not list locks. Raises OSError."""
    return _is_listed(path.stat()) is True


def _is_listed(facts: os.stat_result) -> bool | None:
    """None where the system does not list locks."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    inode = str(facts.st_ino)  # the device is another one in `stat` on some file systems
    return any(words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode for words in map(str.split, lines))
