"""The hash chain of the audit table.

`hash = SHA-256(previous hash ‖ u64 n ‖ i64 wall_ms ‖ for actor, event and detail: u32 length ‖ bytes)`,
numbers big-endian, texts in UTF-8; the first row is 1 and follows 32 zero bytes.

`verify` finds a row that was altered, removed, inserted or moved, and rows deleted at the end, because the
table remembers the highest number that it gave. It cannot find what somebody does who takes more care:
cutting off rows together with that memory, putting an older copy of the file back, or computing a new chain
from some row on. Those show only when another node witnessed the head of the chain.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import apsw

from actors.ports import AuditVerdict
from protocol.machines.contract import Audit

FIRST_PREVIOUS: Final = bytes(32)

_NUMBERS = struct.Struct(">Qq")
_LENGTH = struct.Struct(">I")


def link(previous: bytes, n: int, wall_ms: int, *texts: bytes) -> bytes:
    """The hash of row `n` after the row whose hash is `previous`; `texts` are actor, event and detail."""
    digest = hashlib.sha256(previous + _NUMBERS.pack(n, wall_ms))
    for text in texts:
        digest.update(_LENGTH.pack(len(text)) + text)
    return digest.digest()


def append(db: apsw.Connection, schema: str, row: Audit) -> None:
    """Append `row` within the open transaction. Raises apsw.Error."""
    n = _highest_given(db, schema) + 1
    previous = FIRST_PREVIOUS
    for (last,) in db.execute(f"SELECT hash FROM {schema}.audit ORDER BY n DESC LIMIT 1"):
        previous = last
    hashed = link(previous, n, row.wall_ms, row.actor.encode(), row.event.encode(), row.detail)
    db.execute(
        f"INSERT INTO {schema}.audit VALUES(?, ?, ?, ?, ?, ?, ?)",
        (n, previous, hashed, row.wall_ms, row.actor, row.event, row.detail),
    )


def verify(db: apsw.Connection, schema: str) -> AuditVerdict:
    """Follow the whole chain. `first_bad` is the number of the first row that is missing or does not fit."""
    previous, good = FIRST_PREVIOUS, 0
    # Texts as bytes: an altered one need not be UTF-8 any more.
    rows = db.execute(
        "SELECT n, previous_hash, hash, wall_ms, CAST(actor AS BLOB), CAST(event AS BLOB), detail "
        f"FROM {schema}.audit ORDER BY n"
    )
    for n, claimed, hashed, wall_ms, actor, event, detail in rows:
        expected = good + 1
        if n != expected or claimed != previous or hashed != link(previous, n, wall_ms, actor, event, detail):
            return AuditVerdict(rows=good, ok=False, first_bad=expected)
        previous, good = hashed, expected
    if _highest_given(db, schema) != good:
        return AuditVerdict(rows=good, ok=False, first_bad=good + 1)
    return AuditVerdict(rows=good, ok=True)


def _highest_given(db: apsw.Connection, schema: str) -> int:
    for (highest,) in db.execute(f"SELECT seq FROM {schema}.sqlite_sequence WHERE name = 'audit'"):
        return int(highest)
    return 0
