"""What a person may say about an order besides its question, with the defaults."""

from __future__ import annotations

from protocol.limits import JOB_DEADLINE_MS, LEASE_MS, ORDER_LIFE_MS
from protocol.record import Record


class OrderOptions(Record, frozen=True):
    """Also the keys of `options` in a question file. Checked against the limits when the order is signed."""

    holders_min: int = 1
    lease_ms: int = LEASE_MS
    deadline_ms: int = JOB_DEADLINE_MS
    life_ms: int = ORDER_LIFE_MS
