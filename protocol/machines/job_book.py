"""All jobs of one scheduler, from the rows of its store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from protocol import kinds
from protocol.errors import Code, DeniedError
from protocol.ids import JOB_ID_BYTES, format_job_id
from protocol.limits import RECORD_BYTES_MAX
from protocol.machines.contract import Keep
from protocol.machines.events import OPERATOR
from protocol.machines.jobs import Job, JobRow, TaskRow, restore_job
from protocol.machines.removals import RemovedRow
from protocol.machines.stored_results import StoredResults
from protocol.plan.order import SignedOrder
from protocol.plan.products import Carried, chunks_in, resource_of
from protocol.wire.codec import decode_record
from protocol.wire.jobs import ENDED

_IN_THE_STORE: Final = SignedOrder(envelope=b"", proof=b"")


class JobBook:
    """All jobs of the scheduler: the live ones, the rows of those that have ended, and those that were removed."""

    def __init__(self, rows: Mapping[str, list[tuple[bytes, bytes]]], scheduler: bytes) -> None:
        """Takes up the jobs from the rows of the store."""
        self.live: dict[bytes, Job] = {}  # limits.JOBS_LIVE_MAX
        self.ended: dict[bytes, JobRow] = {}  # limits.JOBS_KEPT_MAX: without their orders, which the store has
        self.stored = StoredResults()
        removals = sorted(_removals(rows), key=lambda one: one[1].removed_ms)
        self.removed = dict(removals)  # limits.JOBS_REMOVED_MAX: the oldest first
        tasks: dict[bytes, dict[int, TaskRow]] = {}  # limits.JOBS_LIVE_MAX × limits.JOB_TASKS_MAX
        for key, value in rows.get(kinds.TASK, []):
            row = decode_record(value, TaskRow, bytes_max=RECORD_BYTES_MAX)
            tasks.setdefault(key[:32], {})[int.from_bytes(key[32:])] = row
        jobs = (decode_record(value, JobRow, bytes_max=RECORD_BYTES_MAX) for _, value in rows.get(kinds.JOB, []))
        for job in sorted(jobs, key=lambda job: job.ended_ms):
            if job.state in ENDED:
                self._keep(job)
            else:
                self.live[job.job_id] = restore_job(job, tasks.get(job.job_id, {}), scheduler)

    def row(self, job_id: bytes) -> JobRow | None:
        job = self.live.get(job_id)
        return job.row if job is not None else self.ended.get(job_id)

    def rows(self) -> Iterator[JobRow]:
        yield from self.ended.values()
        yield from (job.row for job in self.live.values())

    def sees(self, asker: bytes, row: JobRow) -> bool:
        return asker in (OPERATOR, row.submitter_id)

    def permitted(self, asker: bytes, job_id: bytes) -> JobRow:
        """The row, for submitter and operator. Others learn nothing of a job, not even that it exists.

        Raises DeniedError: JOB_UNKNOWN, or JOB_REMOVED for one that was theirs.
        """
        row, removed = self.row(job_id), self.removed.get(job_id)
        if removed is not None and removed.is_of(asker):
            raise removed.refusal()
        if row is None or not self.sees(asker, row):
            raise DeniedError(
                Code.JOB_UNKNOWN,
                f"no job {format_job_id(job_id) if len(job_id) == JOB_ID_BYTES else '?'} of yours is known here",
                next_step="see `flotta-p2p jobs`",
            )
        return row

    def to_keep(self, digest: bytes, product: Carried) -> tuple[Keep, ...]:
        """The write that stores a result, unless another job has the same."""
        if digest in self.stored.digests():
            return ()
        return (Keep(digest=digest, data=resource_of(product), parts=chunks_in(product)),)

    def end(self, job: Job) -> None:
        del self.live[job.job_id]
        self._keep(job.row)

    def forget(self, job_id: bytes) -> tuple[JobRow, dict[bytes, int]]:
        """Takes an ended job out; with the resources that no other job needs."""
        row = self.ended.pop(job_id)
        return row, self.stored.let_go(row.resources)

    def check(self) -> None:
        """What is counted as stored is what the rows name."""
        assert not self.live.keys() & self.ended.keys()
        assert not self.removed.keys() & (self.live.keys() | self.ended.keys())
        assert self.stored.digests() == {row.digest for row in self.ended.values() if row.digest}

    def _keep(self, row: JobRow) -> None:
        self.ended[row.job_id] = msgspec.structs.replace(row, order=_IN_THE_STORE)
        self.stored.add(row.resources)


def _removals(rows: Mapping[str, list[tuple[bytes, bytes]]]) -> Iterator[tuple[bytes, RemovedRow]]:
    for key, value in rows.get(kinds.REMOVED, []):
        yield key, decode_record(value, RemovedRow, bytes_max=RECORD_BYTES_MAX)
