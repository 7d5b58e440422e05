"""What the executor of a run writes into its folder, and only while it holds the lock of the run: documents, each whole
or not at all, and links to what there is while the run goes on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from actors.adapters.folder_lock import FolderLock, lock_folder
from flame.graph import Graph
from flame.limits import DIFFERENCES_SHOWN_MAX
from flame.refusals import refusal
from flame.run.owners import belongs_to_another, may
from flame.run.provenance import copy_sources, hashes, provenance, source_files
from flame.run.resuming import differences
from flame.run.run_folder import RunFolder, claim
from flame.run.run_progress import Progress, progress_file
from flame.run.run_record import RunDocument, RunResult, to_json
from flame.run.runs import Run, load
from flame.run.whole_files import like_its_folder
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
    folder: RunFolder | None = None
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
    except BaseException as error:
        if folder is not None:
            discard_unbegun(folder)
        if isinstance(error, OSError):
            raise _unwritten(runs, error) from error
        raise
    return HeldRun(folder, document, lock)


def discard_unbegun(folder: RunFolder) -> None:
    """Remove a run of which nothing was started, since its start failed or was interrupted. Its number stays its own.

    In the process that made it.
    """
    if not folder.result.exists() and not folder.log("").parent.exists():
        shutil.rmtree(folder.path, ignore_errors=True)


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
                raise _not_ours(folder, error) from error
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


def _not_ours(folder: RunFolder, error: ConfigError) -> FlottaError:
    if not may(folder.path, os.W_OK) or not may(folder.lock, os.R_OK | os.W_OK):
        what = "it is written by that user alone, so nobody else can take it up"
        return belongs_to_another(folder, what, "ask that user, or start a run of your own in a folder of your own")
    return error


def take_up(folder: RunFolder, graph: Graph, *, anyway: bool = False, workdir: str = "") -> HeldRun:
    """Hold a run that has ended badly, or whose executor died, to go on with it. `graph`: what would run now;
    `workdir`: of the node that is to execute it.

    Raises WorkflowError: RUN_IN_PROGRESS; RUN_FAILED when it has succeeded; save `anyway`, RUN_FAILED when it was
    stopped in order, RUN_CHANGED when code or parameters are others; StorageError.
    """
    lock = hold(folder)
    try:
        return HeldRun(folder, resume_document(folder, graph, anyway=anyway, workdir=workdir), lock)
    except FlottaError:
        lock.release()
        raise


def resume_document(folder: RunFolder, graph: Graph, *, anyway: bool, workdir: str) -> RunDocument:
    """As `take_up`, for a caller whose lock is held: the run is resumed once its document says so."""
    try:
        run = load(folder)
        document, files = run.document, source_files(graph)
        sources = hashes(files)
        differing = differences(document, graph, sources)
        _check_resumes(run, differing, anyway=anyway)
        resumes = document.resumes + 1
        if differing:
            folder.sources.rename(folder.path / f"sources-before-resume-{resumes}")
            copy_sources(files, folder.sources)
            document = msgspec.structs.replace(document, graph=graph, provenance=provenance(graph, sources))
        document = msgspec.structs.replace(document, resumes=resumes, workdir=workdir)
        write_whole(folder.document, to_json(document))
        folder.result.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(folder.path, error) from error
    return document


def _check_resumes(run: Run, differing: Sequence[str], *, anyway: bool) -> None:
    folder, result = run.folder, run.result
    if result is not None and result.end == "succeeded":
        raise _not_resumed(Code.RUN_FAILED, folder, "it has succeeded", "start a new run with `flame run`")
    if result is not None and result.end == "stopped" and not anyway:
        step = "start a new run with `flame run`, or add --anyway to add to this one"
        raise _not_resumed(Code.RUN_FAILED, folder, f"it has ended in order: {result.reason}", step)
    if differing and not anyway:
        listed = "".join(f"\n  {one}" for one in differing[:DIFFERENCES_SHOWN_MAX])
        raise _not_resumed(
            Code.RUN_CHANGED,
            folder,
            f"what would run now is not what ran then:{listed}",
            "restore that, start a new run with `flame run`, or add --anyway to go on with what is there now",
        )


def _not_resumed(code: Code, folder: RunFolder, reason: str, next_step: str) -> WorkflowError:
    return WorkflowError(code, f"run {folder.alias} is not resumed: {reason}", next_step=next_step)


def keep_result(folder: RunFolder, result: RunResult) -> None:
    """Raises StorageError."""
    try:
        write_whole(folder.result, to_json(result))
        _remove_shared(folder)
    except OSError as error:
        raise _unwritten(folder.path, error) from error


def show_sockets(folder: RunFolder, sockets: Path) -> None:
    """Tell where the sockets of a run are, for who watches its runtime outputs. Raises StorageError."""
    show_link(folder, folder.sockets, sockets)


def show_link(folder: RunFolder, link: Path, target: Path) -> None:
    """Make `link` in the folder of a run, in the place of an older one. Raises StorageError."""
    try:
        link.unlink(missing_ok=True)  # of an executor that was killed
        link.symlink_to(target)
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


def show_progress(sockets: Path, progress: Progress) -> None:
    """For who looks at the run from outside: whole at any moment, and gone with the folder of its sockets. A refusal of
    the disk shows nothing new, and ends no run.
    """
    file = progress_file(sockets)
    fresh = file.with_suffix(".new")
    with contextlib.suppress(OSError):
        fresh.write_bytes(msgspec.json.encode(progress))
        fresh.replace(file)


def hide_sockets(folder: RunFolder) -> None:
    hide_link(folder.sockets)


def hide_link(link: Path) -> None:
    with contextlib.suppress(OSError):
        link.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Temporary file, fsync, rename, fsync of the folder. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(fresh, "wb", opener=like_its_folder) as file:
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
    refused = refusal(error)
    step = refused.next_step
    if isinstance(error, FileNotFoundError):
        step = "was the folder removed while the run went on? Leave it until the run has ended"
    return StorageError(
        refused.code if refused.is_full else Code.FOLDER_UNUSABLE,
        f"the run cannot be written in {path}: {refused.why}",
        next_step=step,
    )
