"""What must hold in the databases of a network that was stopped, whatever was done to its processes before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import apsw

from actors.adapters.store import LocalStore
from protocol.wire.jobs import ENDED

Log = Counter[tuple[str, bytes]]


def event_logs(database: Path) -> dict[bytes, Log]:
    """For each job: how often each event of each task was written."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found: dict[bytes, Log] = {}
        for job_id, event, detail in connection.execute("SELECT job_id, event, detail FROM job_events"):
            found.setdefault(job_id, Counter())[event, detail] += 1
        return found
    finally:
        connection.close()


def violations_of_jobs(scheduler: Path, workers: Iterable[Path], acknowledged: Iterable[bytes]) -> list[str]:
    """One line for each acknowledged job that was lost or doubled. `scheduler` and `workers` are database files."""
    found = []
    logs = event_logs(scheduler)
    for job_id in acknowledged:
        log = logs.get(job_id, Counter())
        ends = sum(count for (event, _), count in log.items() if event in ENDED)
        if ends != 1:
            found.append(f"job {job_id.hex()}: {ends} ends in the scheduler's log")
    for job_id, log in logs.items():
        again = twice(log, "result accepted")
        found += [f"job {job_id.hex()}: task {task.hex()} accepted {n} times" for task, n in again]
    for database in workers:
        for job_id, log in event_logs(database).items():
            again = twice(log, "task started")
            found += [f"{database.parts[-3]}, job {job_id.hex()}: task {t.hex()} taken {n} times" for t, n in again]
    return found


def twice(log: Log, wanted: str) -> list[tuple[bytes, int]]:
    return [(detail, count) for (event, detail), count in log.items() if event == wanted and count > 1]


def violations_of_folder(workdir: Path) -> list[str]:
    """A broken audit chain, and what an interrupted write has left behind."""
    store = LocalStore.open(workdir, metadata=Path("jobs.sqlite"))
    try:
        verdict = store.verify_audit()
    finally:
        store.close()
    found = [] if verdict.ok else [f"{workdir}: the audit chain is broken: {verdict}"]
    return found + [f"{workdir}: a temporary file is left: {path.name}" for path in temporary_files(workdir)]


def temporary_files(workdir: Path) -> list[Path]:
    """Of keys and tokens: `private_files` writes them under a hidden name first."""
    return [path for name in ("keys", "projects") for path in (workdir / name).glob(".*")]
