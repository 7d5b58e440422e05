"""What flame needs of a folder and its machine: to write, room, quick disk, short paths of sockets, its libraries, and
runs that nobody executes any more.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from actors.adapters.machine import disk_of
from actors.adapters.runtime_folder import SocketFolder
from flame.refusals import refusal
from flame.run.run_folder import RUNS_FOLDER, all_runs, find_runs
from flame.run.runs import load
from flotta_p2p.doctor.finding import Finding, failed, of_error, ok, warning
from protocol.errors import Code, FlottaError
from protocol.limits import DISK_FREE_BYTES_MIN, MIB

_SYNCS: Final = 9
_SYNC_BYTES: Final = 4_096
_SYNC_MS_GOOD: Final = 20.0  # journals are synced as often: a slower disk is always behind
_LIBRARIES: Final = ("msgspec", "pyzmq", "lmdb", "numpy", "h5py")
_FAR_FILE_SYSTEMS: Final = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "ceph", "gluster", "lustre")
_RUNS_SHOWN_MAX: Final = 5


def examine(folder: Path) -> list[Finding]:
    """Every finding about running flame in `folder`. Changes nothing that stays."""
    checks = (_folder(folder), _disk(folder), _sync(folder), _sockets(), _libraries(), _runs(folder))
    return [finding for check in checks for finding in check]


def _runs_folder(folder: Path) -> Path:
    return find_runs(folder) or folder / RUNS_FOLDER


def _home(folder: Path) -> Path:
    """Where runs are, or the folder in which a first one would make its own."""
    runs = _runs_folder(folder)
    return runs if runs.is_dir() else runs.parent


def _folder(folder: Path) -> Iterator[Finding]:
    home = _home(folder)
    if not os.access(home, os.W_OK | os.X_OK):
        yield failed(
            "folder", f"{home} cannot be written by this user", "change its owner or mode", Code.FOLDER_UNUSABLE
        )
        return
    yield ok("folder", f"runs are kept in {_runs_folder(folder)}")


def _disk(folder: Path) -> Iterator[Finding]:
    disk = disk_of(_home(folder))
    if disk.kind.startswith(_FAR_FILE_SYSTEMS):
        seen = f"the folder lies on {disk.kind}, storage of another machine, where a journal can be damaged"
        yield failed("disk", seen, "keep the workflow on a local disk, and copy archives", Code.FOLDER_UNUSABLE)
        return
    room = f"{disk.free_bytes // MIB:,} MiB free"
    if disk.free_bytes < DISK_FREE_BYTES_MIN:
        yield failed("disk", room, "make room: a run that fills the disk ends as failed", Code.DISK_FULL)
    else:
        yield ok("disk", f"{room}{f', {disk.kind}' if disk.kind else ''}")


def _sync(folder: Path) -> Iterator[Finding]:
    """How long the disk takes to keep 4 KiB for good."""
    try:
        with tempfile.TemporaryFile(dir=_home(folder)) as file:
            taken = [_one_sync_ms(file.fileno()) for _ in range(_SYNCS)]
    except OSError as error:
        refused = refusal(error)
        yield failed("fsync", f"no file can be kept in {_home(folder)}: {refused.why}", refused.next_step, refused.code)
        return
    middle_ms = statistics.median(taken)
    seen = f"{middle_ms:.1f} ms, at most {max(taken):.1f} ms in {_SYNCS}"
    if middle_ms > _SYNC_MS_GOOD:
        yield warning(
            "fsync", f"{seen}: a power cut may take more than {_SYNC_MS_GOOD:.0f} ms of values", "use a faster disk"
        )
    else:
        yield ok("fsync", seen)


def _one_sync_ms(descriptor: int) -> float:
    began = time.perf_counter()
    os.write(descriptor, bytes(_SYNC_BYTES))
    os.fsync(descriptor)
    return (time.perf_counter() - began) * 1_000


def _sockets() -> Iterator[Finding]:
    try:
        folder = SocketFolder()
    except FlottaError as error:
        yield of_error("sockets", error)
        return
    except OSError as error:
        yield failed("sockets", f"no folder for sockets: {error.strerror}", "set XDG_RUNTIME_DIR", Code.FOLDER_UNUSABLE)
        return
    try:
        yield ok("sockets", f"in {folder.path.parent}")
    finally:
        folder.close()


def _libraries() -> Iterator[Finding]:
    missing = [name for name in _LIBRARIES if _version(name) is None]
    if missing:
        yield failed("libraries", f"not installed: {', '.join(missing)}", "pip install --upgrade flotta-p2p")
        return
    have = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    yield ok(
        "libraries",
        f"Python {platform.python_version()}, flotta-p2p {_version('flotta-p2p') or 'from sources'}, {have}",
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _runs(folder: Path) -> Iterator[Finding]:
    """Those whose executor is gone without a result, newest first."""
    broken: list[str] = []
    try:
        folders = all_runs(_runs_folder(folder))
    except FlottaError as error:
        yield of_error("runs", error)
        return
    for one in reversed(folders):
        try:
            run = load(one)
            if run.state != "broken off":
                continue
        except FileNotFoundError:
            continue
        except FlottaError as error:
            yield of_error(f"run {one.alias}", error)
            continue
        broken.append(one.alias)
        if workdir := run.document.workdir:
            step = f"`flotta-p2p status --workdir {workdir}` says why; `flotta-p2p up` starts the node"
            yield warning(f"run {one.alias}", f"it is for the node of {workdir} to go on with", step)
    if not broken:
        yield ok("runs", f"{len(folders)}, and each has ended or is running")
        return
    shown = ", ".join(broken[:_RUNS_SHOWN_MAX]) + (" …" if len(broken) > _RUNS_SHOWN_MAX else "")
    step = "`flame resume RUN` goes on with one that no node goes on with; `flame archive RUN` writes what there is"
    yield warning("runs", f"{len(broken)} of {len(folders)} were broken off: {shown}", step)
