"""Root may read and write everywhere: a test of a missing right acts as somebody else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NOBODY: Final = 65_534


@contextmanager
def without_privileges() -> Iterator[None]:
    """As root, act as nobody for a while; as anybody else, go on."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def folder_of_everybody() -> Iterator[Path]:
    """One that others may enter too, unlike those of pytest; removed with all that was closed in it."""
    folder = Path(tempfile.mkdtemp(prefix="flotta-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        folder.chmod(0o700)
        for path in folder.rglob("*"):
            if path.is_dir():
                path.chmod(0o700)
        shutil.rmtree(folder)
