"""The documents of a run on disk: each is written whole or not at all, and only by who holds the lock of the run."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from actors.adapters.folder_lock import FolderLock, lock_folder
from flame.graph import Graph
from flame.limits import DIFFERENCES_SHOWN_MAX
from flame.run.provenance import copy_sources, hashes, provenance, source_files
from flame.run.resuming import differences
from flame.run.run_folder import RunFolder, claim
from flame.run.run_record import RunDocument, RunResult, read_result, to_json
from flame.run.runs import load
from protocol.errors import Code, ConfigError, FlottaError, StorageError, WorkflowError
from protocol.ids import JOB_ID_BYTES, format_job_id
from protocol.limits import FLAME_LOCK_MS, FLAME_NODES_MAX


@dataclass(frozen=True)
class HeldRun:
    """A run that this process, and no other, may execute until `lock` is released. `document` is on disk."""

    folder: RunFolder
    document: RunDocument
    lock: FolderLock


def new_run(runs: Path, graph: Graph, *, limit_s: float = 0.0, workdir: str = "") -> HeldRun:
    """Under a number that no run had. Its files are copied, and its document is on the disk, when this returns.
    `workdir`: of the node that is to execute it.

    Raises StorageError, and WorkflowError for more flame nodes than FLAME_NODES_MAX.
    """
    if len(graph.nodes) > FLAME_NODES_MAX:
        raise WorkflowError(
            Code.WORKFLOW_WRONG,
            f"the workflow has {len(graph.nodes)} flame nodes; a run takes {FLAME_NODES_MAX}",
            next_step="join several of them in one program, or split the workflow",
        )
    try:
        folder = claim(runs)
        lock = hold(folder)
        files = source_files(graph)
        copy_sources(files, folder.sources)
        document = RunDocument(
            id=format_job_id(os.urandom(JOB_ID_BYTES)),
            alias=folder.alias,
            graph=graph,
            started_ns=time.time_ns(),
            provenance=provenance(graph, hashes(files)),
            limit_s=limit_s,
            workdir=workdir,
        )
        write_whole(folder.document, to_json(document))
    except OSError as error:
        raise _unwritten(runs, error) from error
    return HeldRun(folder, document, lock)


def hold(folder: RunFolder) -> FolderLock:
    """Waits FLAME_LOCK_MS for a guard that still ends what a killed executor had started.

    Raises WorkflowError(RUN_IN_PROGRESS) when another process executes the run.
    """
    deadline_s = time.monotonic() + FLAME_LOCK_MS / 1000
    while True:
        try:
            lock = lock_folder(folder.path)
            break
        except ConfigError as error:
            if error.code is not Code.FOLDER_LOCKED:
                raise
            if time.monotonic() > deadline_s:
                raise _in_progress(folder, error) from error
        time.sleep(FLAME_LOCK_MS / 1000 / 20)
    lock.name_node(folder.alias)
    return lock


def _in_progress(folder: RunFolder, error: ConfigError) -> WorkflowError:
    return WorkflowError(
        Code.RUN_IN_PROGRESS,
        f"run {folder.alias} is in progress: {error.sentence.partition(' is ')[2]}",
        next_step=f"watch it with `flame logs -f {folder.alias}`, or end it with `flame stop {folder.alias}`",
    )


def take_up(folder: RunFolder, graph: Graph, *, anyway: bool = False, workdir: str = "") -> HeldRun:
    """Hold a run that has ended badly, or whose executor died, to go on with it. `graph`: what would run now;
    `workdir`: of the node that is to execute it.

    Raises WorkflowError: RUN_IN_PROGRESS; RUN_FAILED when it has succeeded, or, save `anyway`, when code or parameters
    are others; StorageError.
    """
    lock = hold(folder)
    try:
        return HeldRun(folder, taken_up(folder, graph, anyway=anyway, workdir=workdir), lock)
    except FlottaError:
        lock.release()
        raise


def taken_up(folder: RunFolder, graph: Graph, *, anyway: bool, workdir: str) -> RunDocument:
    """As `take_up`, for a caller whose lock is held."""
    try:
        return _taken_up(folder, graph, anyway=anyway, workdir=workdir)
    except OSError as error:
        raise _unwritten(folder.path, error) from error


def _taken_up(folder: RunFolder, graph: Graph, *, anyway: bool, workdir: str) -> RunDocument:
    document, result = load(folder).document, load_result(folder)
    if result is not None and result.end == "succeeded":
        raise _not_resumed(folder, "it has succeeded", "start a new run with `flame run`")
    files = source_files(graph)
    sources = hashes(files)
    differing = differences(document, graph, sources)
    if differing and not anyway:
        listed = "".join(f"\n  {one}" for one in differing[:DIFFERENCES_SHOWN_MAX])
        raise _not_resumed(
            folder,
            f"what would run now is not what ran then:{listed}",
            "restore that, start a new run with `flame run`, or add --anyway to go on with what is there now",
        )
    resumes = document.resumes + 1
    if differing:
        folder.sources.rename(folder.path / f"sources-before-resume-{resumes}")
        copy_sources(files, folder.sources)
        document = msgspec.structs.replace(document, graph=graph, provenance=provenance(graph, sources))
    document = msgspec.structs.replace(document, resumes=resumes, workdir=workdir)
    write_whole(folder.document, to_json(document))
    folder.result.unlink(missing_ok=True)
    return document


def _not_resumed(folder: RunFolder, reason: str, next_step: str) -> WorkflowError:
    return WorkflowError(Code.RUN_FAILED, f"run {folder.alias} is not resumed: {reason}", next_step=next_step)


def load_result(folder: RunFolder) -> RunResult | None:
    """None: the run has not ended in order."""
    try:
        return read_result(folder.result.read_bytes())
    except (OSError, ValueError):
        return None


def keep_result(folder: RunFolder, result: RunResult) -> None:
    """Raises StorageError."""
    try:
        write_whole(folder.result, to_json(result))
        _remove_shared(folder)
    except OSError as error:
        raise _unwritten(folder.path, error) from error


def show_sockets(folder: RunFolder, sockets: Path) -> None:
    """Tell where the sockets of a run are, for who watches its runtime outputs. Raises StorageError."""
    try:
        folder.sockets.unlink(missing_ok=True)  # of an executor that was killed
        folder.sockets.symlink_to(sockets)
    except OSError as error:
        raise _unwritten(folder.path, error) from error


def make_shared(folder: RunFolder, memory: Path | None) -> None:
    """Where payloads of large arrays lie: in `memory`, else in the folder of the run. Raises StorageError."""
    try:
        _remove_shared(folder)  # of an executor that was killed
        if memory is None:
            folder.shared.mkdir(mode=0o700)
        else:
            folder.shared.symlink_to(memory)
    except OSError as error:
        raise _unwritten(folder.path, error) from error


def _remove_shared(folder: RunFolder) -> None:
    if folder.shared.is_symlink():
        folder.shared.unlink()
    else:
        shutil.rmtree(folder.shared, ignore_errors=True)


def hide_sockets(folder: RunFolder) -> None:
    with contextlib.suppress(OSError):
        folder.sockets.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Temporary file, fsync, rename, fsync of the folder. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(path: Path, error: OSError) -> StorageError:
    return StorageError(
        Code.FOLDER_UNUSABLE,
        f"the run cannot be written in {path}: {error.strerror or error}",
        next_step="make room, or run it in a folder where this user may write",
    )
