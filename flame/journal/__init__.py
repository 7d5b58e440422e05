"""The journal of a flame node: what it set is stored here before anybody is told of it.

writer.py     Journal, the one writer, and the thread that syncs
reader.py     JournalReader, in any process, while it is written or afterwards
keeping.py    whose time is over, and may go
dropping.py   how they go, a segment at a time
recovery.py   a start after a crash
segments.py   the files: records with checksums, appended, and never moved
contents.py   what a journal contains, as a sum over its records
positions.py  how far the flame node is in its inputs, where a step keeps nothing else
index.py      LMDB: the contents at the last commit, and where values are; made again from the segments if lost
"""

from __future__ import annotations

from flame.journal.keeping import Keeping, Taker
from flame.journal.reader import JournalReader, Stored, StreamInfo
from flame.journal.writer import Journal, Recovered

__all__ = ["Journal", "JournalReader", "Keeping", "Recovered", "Stored", "StreamInfo", "Taker"]
