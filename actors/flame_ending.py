"""How a run ends on the disk: its result first, then the archive, which takes nothing from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from actors.adapters.flame_files import HeldRun, keep_result
from flame.control import Beat
from flame.run.run_folder import RunFolder
from flame.run.run_record import NodeResult, RunDocument, RunResult, WriteCount
from flame.run.write_journal import counted
from protocol.errors import FlottaError, StorageError
from protocol.machines.flame_events import Finish, NodeView, RunView

_log = logging.getLogger(__name__)

WriteArchive = Callable[[RunFolder, RunDocument, RunResult], Path]


def result_of(
    run: HeldRun, finish: Finish, view: RunView, beats: Mapping[str, Beat], notes: Mapping[str, tuple[str, ...]]
) -> RunResult:
    """`beats`: the newest of each flame node that sent some. `notes`: of each."""
    return RunResult(
        id=run.document.id,
        alias=run.folder.alias,
        end=finish.end,
        reason=finish.reason,
        nodes={one.name: _node_result(one, beats.get(one.name, Beat()), notes[one.name]) for one in view.nodes},
        started_ns=run.document.started_ns,
        ended_ns=time.time_ns(),
        written=_written(run.folder),
    )


def _node_result(view: NodeView, beat: Beat, notes: tuple[str, ...]) -> NodeResult:
    return NodeResult(
        end=view.end or "never-started",
        exit_code=view.code,
        signal=view.signal,
        problem=view.problem,
        restarts=view.restarts,
        inputs=beat.inputs,
        sent=beat.sent,
        notes=notes,
    )


def _written(folder: RunFolder) -> dict[str, WriteCount]:
    try:
        return counted(folder.writes)
    except StorageError as error:  # the result is worth more; the archive tells it
        _log.warning("what was written is not in the result: %s", error)
        return {}


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
