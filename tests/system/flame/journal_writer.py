"""Writes numbered sets into a journal for as long as it lives; prints the number of each set that is written.

python -m tests.system.flame.journal_writer FOLDER [SECONDS]    payloads are kept for so long
"""

from __future__ import annotations

import sys
from pathlib import Path

from flame.journal import Journal, Keeping, keeping, writer
from flame.values import encode
from protocol.limits import MIB


def payload(i: int) -> bytes:
    """Small ones mostly, and some that take many writes of the disk."""
    return i.to_bytes(8, "big") * (20_000 if i % 50 == 0 else i % 100)


def main() -> None:
    writer.__dict__["SEGMENT_BYTES"] = MIB  # so that new segments are begun while it is killed
    keeping.__dict__["DROP_LOOK_S"] = 0.002
    kept = {"payload": Keeping(float(words[0]))} if (words := sys.argv[2:]) else None
    with Journal.open(Path(sys.argv[1]), ["number", "payload"], keeping=kept) as journal:
        before = journal.recovered
        first = before.next_seq["number"]
        assert before.memory.get("number", 0) == before.cursors.get("input", 0) == first - 1
        for i in range(first, first + 1_000_000):
            journal.append(
                {"number": encode(i), "payload": encode(payload(i))},
                i,
                memory={"number": encode(i)},
                cursors={"input": i},
                durable=i % 97 == 0,
            )
            print(i, flush=True)


if __name__ == "__main__":
    main()
