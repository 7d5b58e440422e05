"""What every user of LMDB here has to know, flame nodes and the store of a node alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import lmdb

from protocol.limits import KIB

_LOCK_FILE_BYTES: Final = 64 * KIB  # LMDB's needs 64 bytes per reader and one page
# Newer bindings carry two engines that cannot read each other's files; older ones do not know the option.
ENGINE: Final[dict[str, Any]] = {"lib_version": 0} if hasattr(lmdb.Environment, "lib_version") else {}


def write_lock_file(path: Path) -> None:
    """Give LMDB a lock file whose blocks exist: it maps the file, and a hole that a full disk cannot fill kills us."""
    if not path.exists():
        path.write_bytes(bytes(_LOCK_FILE_BYTES))
