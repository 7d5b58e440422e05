"""Sizes and waits of flame, one line each: who could grow it, and why this number."""

from __future__ import annotations

from typing import Final

from protocol.limits import KIB, MIB

# runs
LOG_TAIL_BYTES: Final = 64 * KIB  # of a log, read for the error in it; a program's; a traceback has a few KiB
LOG_SHOWN_BYTES_MAX: Final = 16 * MIB  # of a log that is asked for as a value; a program's; more is for `flame logs`
LOG_LINE_BYTES_MAX: Final = 1 * MIB  # shown at once; a program that prints without line ends
LOG_TOLD_BYTES: Final = 256 * MIB  # a log so long is named in the result: nothing cuts it, and it fills a disk
RUN_JSON_BYTES_MAX: Final = 512 * MIB  # of run.json and result.json, whole in memory; twice the largest parameters.json
SOURCES_MAX: Final = 1_000  # files kept with a run; whoever fills the folder of a workflow; far beyond any
SOURCE_BYTES_MAX: Final = 4 * MIB  # of one of them; larger is data, not a program
GIT_DIFF_BYTES_MAX: Final = 1 * MIB  # of what differs from the commit; whoever commits seldom; more is cut
DIFFERENCES_SHOWN_MAX: Final = 20  # of a run that is not resumed; whoever changed its files; a page
GIT_S_MAX: Final = 10.0  # for an answer of git; a repository on a slow disk takes a second

# values
ARRAY_INLINE_BYTES_MAX: Final = 64 * KIB  # a larger array travels by shared memory; below, the copy is cheaper
VALUE_BYTES_MAX: Final = 2_048 * MIB  # one value, a program's; MessagePack and one write of Linux end there
VALUE_DEPTH_MAX: Final = 64  # lists in lists of a value, a program's; readers go so deep on any stack
DTYPES_MAX: Final = 256  # types of arrays whose description is remembered, a program's

# journals
SEGMENT_BYTES: Final = 64 * MIB  # a segment that is larger is followed by a new one: read again whole in < 0.1 s
INDEX_EVERY_BYTES: Final = 16 * KIB  # of a journal between two entries of one stream: 1 ms to go through
INDEX_EVERY_MS: Final = 200  # between two commits of the index; a start re-reads what was written since
SEGMENT_S_MIN: Final = 600.0  # where values are dropped by age, a segment is at least so old before the next one begins
KEEP_PARTS: Final = 8  # segments of one such age: a value goes at most an eighth of its time too late
DROP_LOOK_S: Final = 1.0  # between two looks whether the time of values is over
JOURNAL_SYNC_MS: Final = 20  # what a power cut may take
JOURNAL_LOCK_S: Final = 1.0  # a killed process that the kernel still clears away holds its lock for an instant
INDEX_MAP_BYTES: Final = (
    4_096 * MIB
)  # address space, no memory: 40 million entries, of 640 GiB of journal for each stream
INDEX_READERS_MAX: Final = 510  # processes and threads that read one journal; LMDB needs the number beforehand
SEGMENTS_OPEN_MAX: Final = 16  # of one reader; each is a descriptor
SCAN_BYTES_MIN: Final = 4 * KIB  # read at once at first: many records of numbers, and a page
SCAN_BYTES_MAX: Final = 256 * KIB  # and in the end, by a long reading

# name space
WATCH_S: Final = 0.05  # between two looks for new values: what a person sees as at once

# workflows
DESCRIBE_LIMIT_S: Final = 20.0  # a node file until it has registered: imports of large libraries take seconds
WORKFLOW_LIMIT_S: Final = 60.0  # a workflow file from start to end: it only makes a graph
NODE_FILES_MAX: Final = 2_000  # Python files below a workflow that are looked at: more is a whole disk by mistake
NODE_FILE_BYTES_MAX: Final = 4 * MIB  # a node file is read to know it again; programs of people are smaller
PARAMETERS_BYTES_MAX: Final = 256 * MIB  # parameters.json, whole in memory
DESCRIBING_AT_ONCE_MAX: Final = 4  # processes that describe node files: they share the machine with a laboratory

# writes
WRITE_BYTES_MAX: Final = 256 * KIB  # of a request; who writes; a command line of Linux takes 128 KiB
WRITTEN_BYTES_MAX: Final = (
    1_024 * MIB
)  # of writes in a run, then only who runs it adds to them; a granted user; 5 million
WRITTEN_RECORD_BYTES: Final = 200  # beside the value, of one of them in the journal
WRITE_REQUEST_S: Final = 5.0  # from a connection to its whole request; who connects; a program sends it at once
WRITE_ANSWER_S: Final = 60.0  # for the answer; a disk that takes so long has failed
WRITES_WAITING_MAX: Final = 32  # connections at a time; authors; each is a descriptor and at most one request
WRITES_WAITING_EACH_MAX: Final = 8  # of them for one user, and for all without a grant; so that no one shuts others out
AUTHORS_NAMED_MAX: Final = 100  # authors of one input in a result, and users who were refused; more are only counted

# edges
SLICE_MS: Final = 50  # a wait for a value or for room looks at the stop flag so often; nobody notices it at the end
EDGE_PAGE_BYTES: Final = 4 * KIB  # one page of memory: the words of an edge, and a mark for each of 496 slots
EDGE_BYTES_MAX: Final = 64 * MIB  # of large values on their way on one edge: memory that is used again at once is fast
LOST_QUIET_S: Final = 2.0  # after a consumer was started anew, what does not come for so long was lost in its crash
DEPTH_MAX: Final = 1_000_000_000  # values that may wait on an edge; the author of a node grows it; more is a slip
EDGE_RECONNECT_MS: Final = 20  # between two tries to reach a consumer that is started anew
LARGE_BYTES: Final = 64 * KIB  # values from here on count for EDGE_BYTES_MAX, and are read from the journal where it is
LATEST_FRAMES_MAX: Final = (
    1_000  # on their way on a `latest` edge, before its producer waits for a consumer that stands still
)
SHARED_BYTES_MAX: Final = 512 * MIB  # shared memory of one output: what travels, and what consumers hold on to
SHARED_STEP_BYTES: Final = 1 * MIB  # sizes of slots, so that arrays of nearly the same size share them

# flame nodes
LINGER_STOPPED_S: Final = 1.0  # a node that was told to stop waits so long for what it sent to leave it
PARENT_LOOK_S: Final = 0.25  # where no signal tells of a parent's death; it must be noticed within 2 s
LINK_LINGER_MS: Final = 1_000  # for the last message to an executor that has no time; it may have died
LIVE_WAIT_S: Final = 2.0  # for a value of a runtime output that is asked for: a person waits so long
TAP_QUEUE_MAX: Final = 1_000  # values of one flame node that wait for a watcher, who misses older ones

# archives
ARCHIVE_CHUNK_BYTES: Final = 256 * KIB  # of a dataset that grows; HDF5 reads and writes whole chunks
ARCHIVE_GZIP: Final = 1  # level: pictures of 12 bits become 39 % of their size at 80 MB/s; at level 4, 38 % at 50 MB/s
ARCHIVE_BLOCK_BYTES: Final = 4 * MIB  # of values that are written or read at once; one value may be larger
ARCHIVE_BLOCK_ROWS: Final = 8_192
ATTRIBUTE_BYTES_MAX: Final = 32 * KIB  # HDF5 keeps less than 64 KiB in an attribute; a longer text is a dataset
