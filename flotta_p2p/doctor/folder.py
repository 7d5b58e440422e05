"""Whether the node runs, its work directory, its disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from actors.adapters.folder_lock import check_disk_space, check_workdir
from actors.adapters.machine import Disk, disk_of
from flotta_p2p import __version__
from flotta_p2p.commands.output import size, span
from flotta_p2p.doctor.finding import Finding, note, of_error, ok, wrong
from flotta_p2p.doctor.patient import Patient
from protocol.errors import Code, ConfigError, StorageError
from protocol.limits import MIB

GIB: Final = 1024 * MIB
DISK_FREE_BYTES_GOOD: Final = GIB  # below it one large job or a few days of logs can fill the disk
DISK_FREE_PERCENT_GOOD: Final = 5
DISK_FREE_FILES_GOOD: Final = 1_000  # the node itself needs about thirty
# SQLite's write-ahead log needs shared memory and locks that file systems of other machines do not give.
_OF_OTHER_MACHINES: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p"}
_OF_OTHER_MACHINES_FUSE: Final = ("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.davfs")


def node(patient: Patient) -> Iterator[Finding]:
    """Whether it runs and answers."""
    name, status = "node", patient.status
    if status is not None:
        seen = (
            f"{status['name']} runs, pid {status['pid']}, up {span(status['uptime_ms'])}, version {status['version']}"
        )
        seen += f", id {status['node']}"
        if status["silent"]:
            actors = ", ".join(status["silent"])
            yield wrong(name, f"{seen}; {actors} did not answer", "see the node's log", Code.TIMED_OUT)
        elif status["version"] != __version__:
            yield note(name, f"{seen}, but {__version__} is installed", "start the node again to run the new version")
        else:
            yield ok(name, seen)
        return
    if patient.holder is not None:
        who = f"process {patient.holder.pid}" if patient.holder.pid else "a process that this one cannot see"
        step = "see its log; if it stays so, stop it and start it again"
        why = patient.silence.sentence if patient.silence is not None else "it does not answer"
        yield wrong(name, f"{who} holds the work directory, but {why}", step, Code.TIMED_OUT)
        return
    if patient.silence is not None and patient.silence.code is not Code.NODE_NOT_RUNNING:
        yield of_error(name, patient.silence)
        return
    step = "flotta-p2p up, or name another node with -c or --workdir"
    yield note(name, f"no node runs for {patient.workdir}", step, Code.NODE_NOT_RUNNING)


def work_directory(patient: Patient) -> Iterator[Finding]:
    """Owner, mode, right to write, and whether it lies on this machine."""
    name, path = "folder", patient.workdir
    if not path.exists():
        yield note(name, f"{path} does not exist yet", "nothing: the first start makes it")
        return
    try:
        check_workdir(path)
    except ConfigError as error:
        finding = of_error(name, error)
        if path.stat().st_uid != os.geteuid():
            step = "run doctor, and the node, as the user to whom the folder belongs"
            finding = wrong(name, finding.seen, step, error.code)
        yield finding
        return
    disk = disk_of(path)
    kind = f", {disk.kind}" if disk.kind else ""
    if disk.kind in _OF_OTHER_MACHINES or disk.kind.startswith(_OF_OTHER_MACHINES_FUSE):
        seen = f"{path} lies on {disk.kind}, storage of another machine, where a database can be damaged"
        yield wrong(name, seen, "choose a workdir on a local disk", Code.FOLDER_UNUSABLE)
        return
    yield ok(name, f"{path}, mode {stat.S_IMODE(path.stat().st_mode):04o}{kind}")


def disk(patient: Patient) -> Iterator[Finding]:
    """Room for the work directory, and for the database where that lies elsewhere."""
    looked_at: set[int] = set()
    for path in (patient.workdir, patient.database):
        if path is None:
            continue
        there = next(one for one in (path, *path.parents) if one.exists())
        if there.stat().st_dev not in looked_at:
            looked_at.add(there.stat().st_dev)
            yield _room(there)


def _room(path: Path) -> Finding:
    name, facts = "disk", disk_of(path)
    try:
        check_disk_space(path)
    except StorageError as error:
        return of_error(name, error)
    if facts.read_only:
        step = "mount it for writing; a disk with errors is often set to reading alone"
        return wrong(name, f"the disk of {path} can only be read", step, Code.FOLDER_UNUSABLE)
    if facts.free_files < DISK_FREE_FILES_GOOD:
        return wrong(
            name, f"the disk of {path} has room for {facts.free_files} more files", "remove files", Code.DISK_FULL
        )
    if facts.free_bytes < _good_bytes(facts):
        seen = f"the disk of {path} has {size(facts.free_bytes)} free of {size(facts.all_bytes)}"
        return note(name, seen, f"make room: {size(_good_bytes(facts))} free is comfortable")
    return ok(name, f"{size(facts.free_bytes)} free of {size(facts.all_bytes)} for {path}")


def _good_bytes(facts: Disk) -> int:
    return max(DISK_FREE_BYTES_GOOD, facts.all_bytes * DISK_FREE_PERCENT_GOOD // 100)
