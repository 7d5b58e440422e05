"""Nodes that are down, with real files, for the checks of doctor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw

from actors.adapters.folder_lock import LockHolder
from actors.adapters.store import LocalStore
from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.doctor.examine import examine
from flotta_p2p.doctor.finding import Finding
from flotta_p2p.doctor.patient import Patient
from protocol.machines.contract import Audit, Keep


class Down:
    """The folder of a node that was stopped: its file is node.yaml, its database work/jobs.sqlite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "node.yaml"
        self.workdir = folder / "work"
        self.database = self.workdir / "jobs.sqlite"

    def copied_to(self, folder: Path) -> Down:
        shutil.copytree(self.folder, folder, copy_function=shutil.copy2)
        return Down(folder)

    def findings(self) -> dict[str, Finding]:
        """By check; AssertionError when two findings have one name."""
        found = examine(self.file, None, {})
        named = {one.check: one for one in found}
        assert len(named) == len(found), [one.check for one in found]
        return named

    def wrong(self) -> dict[str, Finding]:
        return {name: one for name, one in self.findings().items() if one.verdict == "failed"}

    def write(self, *writes: Any) -> None:
        """One batch, as the node would."""
        store = LocalStore.open(self.workdir, metadata=self.database)
        assert store.commit([writes]) == [None]
        store.close()

    @contextmanager
    def altered(self) -> Iterator[apsw.Connection]:
        """The database, open to whoever goes past the program. It is closed cleanly."""
        db = apsw.Connection(str(self.database))
        yield db
        db.close()

    def picture(self) -> dict[str, tuple[int, int, int, bytes]]:
        """All that a look must not change: names, modes, times and contents."""
        return {
            str(path.relative_to(self.folder)): (
                path.stat().st_mode,
                path.stat().st_mtime_ns,
                path.stat().st_ino,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in sorted(self.folder.rglob("*"))
        }


def audit(number: int) -> Audit:
    return Audit(wall_ms=number, actor="worker", event=f"event {number}", detail=b"x")


def result(data: bytes) -> Keep:
    import hashlib

    return Keep(digest=hashlib.sha256(data).digest(), data=data)


def running(folder: Path, status: dict[str, Any] | None = None, peers: dict[str, Any] | None = None) -> Patient:
    """A patient whose node says this of itself, without a node."""
    values: dict[str, Any] = {
        "door": {},
        "jobs": {},
        "work": {},
        "projects": [],
        "sources": [],
        "silent": [],
        "database": "memory",
    }
    values |= {
        "mode": "node",
        "left": False,
        "schedulers": [],
        "discovery": {"state": "ready", "zeroconf": False, "problems": []},
        "way_out": {},
        "results": {},
    }
    return Patient(
        folder,
        replace_workdir(folder),
        holder=LockHolder(1, ""),
        status={**values, **(status or {})},
        peers={"peers": [], "strangers": [], "joins": [], **(peers or {})},
    )


def replace_workdir(folder: Path) -> Any:
    from msgspec.structs import replace as changed

    return changed(read_configuration(None, {}), workdir=folder)


def peer(name: str, presence: str = "present", **more: Any) -> dict[str, Any]:
    known = {
        "name": name,
        "node": f"id of {name}",
        "presence": presence,
        "addresses": ["192.168.1.20:1456"],
        "projects": [{"name": "heart", "id": "p"}],
        "sources": ["table"],
        "silent_ms": 1_000,
    }
    return {**known, **more}


def with_jobs(patient: Patient, *jobs: Any) -> Patient:
    return replace(patient, jobs=jobs)
