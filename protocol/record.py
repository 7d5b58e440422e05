"""The base of everything frozen: events, effects, messages, statements, rows, snapshots."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of frozen records: events, effects, messages, snapshots."""
