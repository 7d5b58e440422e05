"""Sizes and waits of flame, one line each: who could grow it, and why this number."""

from __future__ import annotations

from typing import Final

from protocol.limits import KIB, MIB

# runs
LOG_TAIL_BYTES: Final = 64 * KIB  # of a log, read for the error in it; a program's; a traceback has a few KiB
SOURCES_MAX: Final = 1_000  # files kept with a run; whoever fills the folder of a workflow; far beyond any
SOURCE_BYTES_MAX: Final = 4 * MIB  # of one of them; larger is data, not a program
GIT_DIFF_BYTES_MAX: Final = 1 * MIB  # of what differs from the commit; whoever commits seldom; more is cut
GIT_S_MAX: Final = 10.0  # for an answer of git; a repository on a slow disk takes a second
