"""How a run ends on the disk: its result first, then the archive, which takes nothing from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from actors.adapters.flame_files import keep_result
from flame.run.run_folder import RunFolder
from flame.run.run_record import RunDocument, RunResult
from protocol.errors import FlottaError

WriteArchive = Callable[[RunFolder, RunDocument, RunResult], Path]


def with_archive(
    folder: RunFolder, document: RunDocument, result: RunResult, write_archive: WriteArchive
) -> tuple[RunResult, str]:
    """`result`, which is on the disk, with its archive once that is there, and ""; else as it was, and why there is
    none.
    """
    try:
        archived = msgspec.structs.replace(result, archive=write_archive(folder, document, result).name)
        keep_result(folder, archived)
    except FlottaError as error:
        return result, str(error)
    return archived, ""
