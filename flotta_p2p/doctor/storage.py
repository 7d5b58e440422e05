"""The store: database, audit, resources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from actors.adapters.clock import SystemClock
from actors.adapters.folder_lock import lock_holder
from actors.adapters.store_inspection import DatabaseFacts, LogUnread, look_at_database, look_at_resources
from flotta_p2p.doctor.finding import Finding, failed, of_error, of_health, ok, warning
from flotta_p2p.doctor.patient import Patient
from protocol import findings
from protocol.errors import Code, StorageError
from protocol.limits import CLOCK_CONFIRM_MS, CLOCK_TOLERANCE_MS, JOBS_KEPT_MAX, MIB, QUOTA_PERCENT_GOOD
from protocol.words import many, size

LOOK_LIMIT_S: Final = 4.0  # two gigabytes of database, or a million audit rows
LOG_BYTES_GOOD: Final = 64 * MIB  # the log is taken over every 4 MiB; more means that something holds it back

_CHECK_COPY: Final = "if you doubt it, stop the node and run `PRAGMA quick_check` of SQLite on a copy"


def database(patient: Patient) -> Iterator[Finding]:
    """It opens, is whole, of a version that this program knows, and its audit chain holds."""
    name, path = "database", patient.database
    if path is None:
        yield warning(name, "not looked at: the configuration, which says where it is, does not read")
        return
    try:
        facts = look_at_database(path, in_use=patient.in_use, limit_s=LOOK_LIMIT_S)
    except FileNotFoundError:
        yield warning(name, f"{path} does not exist yet", "nothing: the first start makes it")
        return
    except LogUnread as error:
        seen = f"the last end was unclean, and {path} has {error.log_bytes} bytes in its log"
        yield warning(name, seen, "nothing: the next start takes them over and checks the file")
        return
    except StorageError as error:
        if not patient.in_use and lock_holder(patient.workdir) is not None:  # then it was written while it was read
            yield warning(name, "a node has started while its database was looked at", "ask doctor again")
            return
        yield of_error(name, error)
        return
    yield _whole(name, path, facts)
    if patient.status is None and facts.messages_waiting:
        yield ok("messages", f"{many(facts.messages_waiting, 'message')} for peers, sent when the node runs")
    yield from _clock(facts)
    yield _audit(path, facts)
    yield _resources(patient, facts)
    if patient.status is None and patient.configuration is not None:
        quota_bytes = patient.configuration.settings.results.retention.quota_bytes
        yield of_health(findings.quota(facts.resource_bytes, 0, quota_bytes))


def retention(patient: Patient) -> Iterator[Finding]:
    """Of a running node: there is room for more results, and their time is counted by a clock that is believed."""
    results = patient.status["results"] if patient.status is not None else {}
    if not results:
        return
    yield of_health(findings.quota(results["used_bytes"], results["reserved_bytes"], results["quota_bytes"]))
    if results["jobs"] * 100 >= JOBS_KEPT_MAX * QUOTA_PERCENT_GOOD:
        seen = f"{results['jobs']:,} of {JOBS_KEPT_MAX:,} jobs are kept; when there are so many, new ones are refused"
        yield warning(
            "jobs kept", seen, "flotta-p2p job remove --ended-before 30d, or a smaller settings.results.keep_days"
        )
    if results["clock_in_doubt"]:
        seen = "this machine's clock was set ahead, or the node was down; nothing is removed by that time for now"
        hours = CLOCK_CONFIRM_MS // 3_600_000
        yield warning("retention", seen, f"set the clock (NTP) if it is wrong; it is believed after {hours} hours")


def _whole(name: str, path: Path, facts: DatabaseFacts) -> Finding:
    seen = f"{path}, version {facts.version}, {size(facts.file_bytes)}"
    if facts.whole is None:
        return warning(name, f"{seen}; too large to be checked to its end in {LOOK_LIMIT_S:g} s", _CHECK_COPY)
    if facts.log_bytes > LOG_BYTES_GOOD:
        step = "end other programs that read the database, then start the node again"
        return warning(name, f"{seen}; its log has grown to {size(facts.log_bytes)}", step)
    if facts.version < facts.version_newest:
        return warning(name, f"{seen}; this program brings it to version {facts.version_newest}", "back up, then start")
    return ok(name, f"{seen}, whole")


def _clock(facts: DatabaseFacts) -> Iterator[Finding]:
    """A boot id is not below the wall clock of its start: a clock that is far below it was set back since."""
    behind_ms = facts.boot_id - SystemClock().now().wall_ms
    if behind_ms > CLOCK_TOLERANCE_MS:
        seen = f"this machine's clock is {behind_ms // 1000} s behind what it was when the node last started"
        yield failed("clock", seen, "set the clock (NTP); peers refuse what comes from the past", Code.TIME_OUTSIDE)


def _audit(path: Path, facts: DatabaseFacts) -> Finding:
    name, verdict = "audit", facts.audit
    if verdict is None:
        return warning(name, f"too long to be followed to its end in {LOOK_LIMIT_S:g} s")
    if not verdict.ok:
        seen = (
            f"row {verdict.first_bad} of the audit in {path} was altered or removed; {verdict.rows} rows before it fit"
        )
        step = "keep a copy of the file, find out who can write to it, and compare it with a backup"
        return failed(name, seen, step, Code.DATABASE_FAILED)
    return ok(name, f"{many(verdict.rows, 'row')}, whole")


def _resources(patient: Patient, facts: DatabaseFacts) -> Finding:
    name, folder = "results", patient.resources
    named = len(facts.resources)
    if not (folder / "data.mdb").exists():
        if named:
            seen = f"{folder} is missing, and the database names {many(named, 'result')} in it"
            return failed(name, seen, "put back the folder that belongs to this database", Code.DATABASE_FAILED)
        return ok(name, "none stored")
    if patient.in_use:
        return ok(name, f"{folder}, {size((folder / 'data.mdb').stat().st_size)}, in the node's hands")
    try:
        count, missing = look_at_resources(folder, facts.resources, limit_s=LOOK_LIMIT_S)
    except StorageError as error:
        return of_error(name, error)
    if missing:
        seen = f"{missing} of {named} results that the database names are not in {folder}"
        return failed(name, seen, "put back the folder that belongs to this database", Code.DATABASE_FAILED)
    return ok(name, f"{folder}, {count} stored")
