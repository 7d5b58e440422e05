"""Whether the node runs, its work directory, its disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from actors.adapters.folder_lock import check_disk_space, check_workdir
from actors.adapters.machine import disk_of
from flotta_p2p import __version__
from flotta_p2p.doctor.finding import Finding, failed, of_error, of_health, ok, warning
from flotta_p2p.doctor.patient import Patient
from protocol import findings
from protocol.errors import Code, ConfigError, StorageError
from protocol.words import span

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
            yield failed(name, f"{seen}; {actors} did not answer", "see the node's log", Code.TIMED_OUT)
        elif status["version"] != __version__:
            yield warning(
                name, f"{seen}, but {__version__} is installed", "start the node again to run the new version"
            )
        else:
            yield ok(name, seen)
        return
    if patient.holder is not None:
        who = f"process {patient.holder.pid}" if patient.holder.pid else "a process that this one cannot see"
        step = "see its log; if it stays so, stop it and start it again"
        why = patient.silence.sentence if patient.silence is not None else "it does not answer"
        yield failed(name, f"{who} holds the work directory, but {why}", step, Code.TIMED_OUT)
        return
    if patient.silence is not None and patient.silence.code is not Code.NODE_NOT_RUNNING:
        yield of_error(name, patient.silence)
        return
    step = "flotta-p2p up, or name another node with -c or --workdir"
    yield warning(name, f"no node runs for {patient.workdir}", step, Code.NODE_NOT_RUNNING)


def work_directory(patient: Patient) -> Iterator[Finding]:
    """Owner, mode, right to write, and whether it lies on this machine."""
    name, path = "folder", patient.workdir
    if not path.exists():
        yield warning(name, f"{path} does not exist yet", "nothing: the first start makes it")
        return
    try:
        check_workdir(path)
    except ConfigError as error:
        finding = of_error(name, error)
        if path.stat().st_uid != os.geteuid():
            step = "run doctor, and the node, as the user to whom the folder belongs"
            finding = failed(name, finding.seen, step, error.code)
        yield finding
        return
    disk = disk_of(path)
    kind = f", {disk.kind}" if disk.kind else ""
    if disk.kind in _OF_OTHER_MACHINES or disk.kind.startswith(_OF_OTHER_MACHINES_FUSE):
        seen = f"{path} lies on {disk.kind}, storage of another machine, where a database can be damaged"
        yield failed(name, seen, "choose a workdir on a local disk", Code.FOLDER_UNUSABLE)
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
    try:
        check_disk_space(path)
    except StorageError as error:
        return of_error("disk", error)
    return of_health(findings.disk(str(path), disk_of(path)))
