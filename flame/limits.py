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
INDEX_EVERY_BYTES: Final = 64 * KIB  # of a journal between two entries of one stream: one read of a disk
INDEX_EVERY_MS: Final = 200  # between two commits of the index; a start re-reads what was written since
JOURNAL_SYNC_MS: Final = 20  # what a power cut may take
JOURNAL_LOCK_S: Final = 1.0  # a killed process that the kernel still clears away holds its lock for an instant
INDEX_MAP_BYTES: Final = 64 * 1_024 * MIB  # address space, no memory: 2^30 entries, of 64 TiB of journal
INDEX_READERS_MAX: Final = 510  # processes and threads that read one journal; LMDB needs the number beforehand
SEGMENTS_OPEN_MAX: Final = 16  # of one reader; each is a descriptor
SCAN_BYTES: Final = 256 * KIB  # read ahead of a scan

# edges
SLICE_MS: Final = 50  # a wait for a value or for room looks at the stop flag so often; nobody notices it at the end
EDGE_PAGE_BYTES: Final = 4 * KIB  # one page of memory: the words of an edge, and a mark for each of 496 slots
EDGE_BYTES_MAX: Final = 256 * MIB  # of large values on their way on one edge; 1,000 images of 40 MB would be 40 GB
LOST_QUIET_S: Final = 2.0  # after a consumer was started anew, what does not come for so long was lost in its crash
EDGE_RECONNECT_MS: Final = 20  # between two tries to reach a consumer that is started anew
LARGE_BYTES: Final = 64 * KIB  # values from here on count for EDGE_BYTES_MAX, and are read from the journal where it is
LATEST_FRAMES_MAX: Final = 1_000  # in the socket of a `latest` edge, while its consumer is a stopped process
SHARED_BYTES_MAX: Final = 512 * MIB  # shared memory of one output: what travels, and what consumers hold on to
SHARED_STEP_BYTES: Final = 1 * MIB  # sizes of slots, so that arrays of nearly the same size share them
# flame nodes
LINGER_STOPPED_S: Final = 1.0  # a node that was told to stop waits so long for what it sent to leave it
LINK_LINGER_MS: Final = 1_000  # for the last message to an executor that has no time; it may have died
