"""Writes numbered batches into a store for as long as it lives; prints the last number of each group that is on disk.

python -m tests.system.store_writer FOLDER memory|FILE FIRST
"""

from __future__ import annotations

import hashlib
import itertools
import random
import sys
from pathlib import Path

from actors.adapters.store import LocalStore
from protocol.kinds import EXECUTED, INBOX
from protocol.machines.contract import Audit, Keep, LogJob, Put, Write

JOB = b"j" * 32


def resource_of(i: int) -> Keep:
    data = i.to_bytes(8) * (1 + i % 2_000)
    return Keep(digest=hashlib.sha256(data).digest(), data=data)


def batch(i: int) -> tuple[Write, ...]:
    """Batch `i` leaves its number in every table: in safe and in ordinary records, log, audit and resources."""
    key = i.to_bytes(8)
    return (
        Put(kind=INBOX, key=key, value=bytes(i % 5_000)),
        Put(kind=EXECUTED, key=key, value=b""),
        LogJob(job_id=JOB, wall_ms=i, event="written"),
        Audit(wall_ms=i, actor="writer", event="written", detail=key),
        resource_of(i),
    )


def main() -> None:
    folder, metadata, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    store = LocalStore.open(folder, metadata="memory" if metadata == "memory" else Path(metadata))
    chance = random.Random(first)
    for last in itertools.accumulate((chance.randint(1, 8) for _ in itertools.count()), initial=first - 1):
        group = range(first, last + 1)
        if any(store.commit([batch(i) for i in group])):
            sys.exit("a commit was refused")
        print(last, flush=True)
        first = last + 1


if __name__ == "__main__":
    main()
