"""Sizes and waits of flame, one line each: who could grow it, and why this number."""

from __future__ import annotations

from typing import Final

from protocol.limits import KIB, MIB

# values
ARRAY_INLINE_BYTES_MAX: Final = 64 * KIB  # a larger array travels by shared memory; below, the copy is cheaper
VALUE_BYTES_MAX: Final = 2_048 * MIB  # one value, a program's; MessagePack and one write of Linux end there
VALUE_DEPTH_MAX: Final = 64  # lists in lists of a value, a program's; readers go so deep on any stack
DTYPES_MAX: Final = 256  # types of arrays whose description is remembered, a program's

# journals
SEGMENT_BYTES: Final = 64 * MIB  # a segment that is larger is followed by a new one: read again whole in < 0.1 s
INDEX_EVERY_BYTES: Final = 16 * KIB  # of a journal between two entries of one stream: 1 ms to go through
INDEX_EVERY_MS: Final = 200  # between two commits of the index; a start re-reads what was written since
JOURNAL_SYNC_MS: Final = 20  # what a power cut may take
JOURNAL_LOCK_S: Final = 1.0  # a killed process that the kernel still clears away holds its lock for an instant
INDEX_MAP_BYTES: Final = (
    4_096 * MIB
)  # address space, no memory: 40 million entries, of 640 GiB of journal for each stream
INDEX_READERS_MAX: Final = 510  # processes and threads that read one journal; LMDB needs the number beforehand
SEGMENTS_OPEN_MAX: Final = 16  # of one reader; each is a descriptor
SCAN_BYTES_MIN: Final = 4 * KIB  # read at once at first: many records of numbers, and a page
SCAN_BYTES_MAX: Final = 256 * KIB  # and in the end, by a long reading

# archives
ARCHIVE_CHUNK_BYTES: Final = 256 * KIB  # of a dataset that grows; HDF5 reads and writes whole chunks
ARCHIVE_BLOCK_BYTES: Final = 4 * MIB  # of values that are written or read at once; one value may be larger
ARCHIVE_BLOCK_ROWS: Final = 8_192
ATTRIBUTE_BYTES_MAX: Final = 32 * KIB  # HDF5 keeps less than 64 KiB in an attribute; a longer text is a dataset
