"""Whose a run is: journals and sockets are their owner's alone, the rest is as open as the folder of runs."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from flame.run.run_folder import RunFolder
from protocol.errors import Code, DeniedError


def owner(path: Path) -> str:
    """Name of the user, or the number where it has none. Raises OSError."""
    number = path.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def may(path: Path, mode: int) -> bool:
    """`os.access` by the ids that opening a file goes by."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def is_closed(folder: Path) -> bool:
    """Whether this user may not read the files in a folder that is there."""
    try:
        folder.stat()
        if not may(folder, os.R_OK | os.X_OK):
            return True
        return any(not may(file, os.R_OK) for file in folder.iterdir() if file.is_file())
    except PermissionError:
        return True
    except OSError:
        return False


def belongs_to_another(folder: RunFolder, what: str, next_step: str) -> DeniedError:
    """`what` follows the name of the run: "its journals are read by that user alone"."""
    sentence = f"run {folder.alias} belongs to {owner(folder.path)}: {what}"
    return DeniedError(Code.RUN_FOREIGN, sentence, next_step=next_step)
