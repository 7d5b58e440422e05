"""The orders that a worker accepted: from whom, under which epoch, and whether they are over. Part of its machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from protocol import kinds
from protocol.ids import format_id
from protocol.limits import CLOCK_TOLERANCE_MS, RECORD_BYTES_MAX
from protocol.machines.contract import Audit, Drop, Now, Persist, Put, Received, Write
from protocol.plan.order import VerifiedOrder
from protocol.plan.plan import Plan, participants_digest
from protocol.record import Record
from protocol.wire.codec import decode_record, encode_record


class ExecutedRow(Record, frozen=True):
    """That this worker accepted an order, from whom, and whether it is over. Kept until the order has expired."""

    scheduler: bytes
    epoch: int
    expires_ms: int
    submitter: bytes  # public key
    ends_ms: int  # no job of this order lives longer, since it must have been started before it expired
    state: Literal["live", "ended", "cancelled"] = "live"
    participants: bytes = b""  # SHA-256 of those of its plan: a later plan of the job has the same

    @property
    def forgotten_ms(self) -> int:
        """From then on it need not be remembered: an order that has expired never starts again."""
        return self.ends_ms if self.state == "live" else self.expires_ms


class Executed:
    """`rows` is only read by others."""

    def __init__(self, rows: Mapping[str, list[tuple[bytes, bytes]]]) -> None:
        self.rows = {  # limits.EXECUTED_ORDERS_MAX: orders that have not expired
            key: decode_record(value, ExecutedRow, bytes_max=RECORD_BYTES_MAX)
            for key, value in rows.get(kinds.EXECUTED, [])
        }

    def accept(
        self, event: Received, verified: VerifiedOrder, plan: Plan, live: Collection[bytes], now: Now
    ) -> list[Persist]:
        """Records the order, its scheduler and its epoch before anything runs. `live`: jobs that are not over."""
        job_id = verified.job_id
        known = self.rows.get(job_id)
        if known is not None and known.epoch == plan.epoch:
            return []
        row = ExecutedRow(
            scheduler=event.sender,
            epoch=plan.epoch,
            expires_ms=verified.order.expires_ms,
            ends_ms=verified.order.expires_ms + verified.order.limits.deadline_ms,
            submitter=verified.submitter,
            participants=participants_digest(plan),
        )
        writes: list[Write] = [self._put(job_id, row)]
        if known is None:
            actor, envelope = format_id(event.sender), verified.signed.envelope
            audit = Audit(wall_ms=now.wall_ms, actor=actor, event="order accepted", detail=envelope)
            writes += [*self._forget_expired(live, now), audit]
        return [Persist(writes=tuple(writes))]

    def mark(self, job_id: bytes, state: Literal["ended", "cancelled"]) -> Persist:
        return Persist(writes=(self._put(job_id, msgspec.structs.replace(self.rows[job_id], state=state)),))

    def _put(self, job_id: bytes, row: ExecutedRow) -> Put:
        self.rows[job_id] = row
        return Put(kind=kinds.EXECUTED, key=job_id, value=encode_record(row))

    def _forget_expired(self, live: Collection[bytes], now: Now) -> list[Write]:
        """An order that has expired can never start again, so it need not be remembered once it is over."""
        limit = now.wall_ms - 2 * CLOCK_TOLERANCE_MS
        stale = [key for key, row in self.rows.items() if row.forgotten_ms < limit and key not in live]
        for key in stale:
            del self.rows[key]
        return [Drop(kind=kinds.EXECUTED, key=key) for key in stale]
