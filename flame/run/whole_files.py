"""Files of a run. Small ones, which somebody else may have laid there, are read whole, with a bound, and never waited
for. New ones are as open to others as the folder in which they are made.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from flame.ordinary_files import open_ordinary


def read_whole(path: Path, bytes_max: int) -> bytes:
    """Raises OSError, for a pipe or a device and for more than `bytes_max` too."""
    with os.fdopen(open_ordinary(path), "rb") as file:
        facts = os.fstat(file.fileno())
        if facts.st_size > bytes_max:
            raise OSError(errno.EFBIG, f"it has {facts.st_size} bytes, and at most {bytes_max} are read")
        return file.read(facts.st_size)


def like_its_folder(path: str | os.PathLike[str], flags: int) -> int:
    """For `open(…, opener=like_its_folder)`."""
    return os.open(path, flags | os.O_CLOEXEC, Path(path).parent.stat().st_mode & 0o666)


def make_like_its_parent(folder: Path) -> None:
    """Raises FileExistsError, OSError."""
    folder.mkdir(mode=folder.parent.stat().st_mode & 0o777)


def write_like_its_folder(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", opener=like_its_folder) as file:
        file.write(text)
