"""Ends what an executor started when the executor itself is gone, by whatever cause.

A process of its own, run as a file and not as a module, so that it starts in milliseconds: it imports nothing of ours.
On standard input it hears `+GROUP` and `-GROUP`, one in each line: process groups that live and that have ended. When
standard input ends, it kills those that live, with all their descendants, and ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    groups: set[int] = set()  # bounded by the flame nodes of one run
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # empty by now, or others' since
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
