"""Named points of the product at which a test may kill the process that reaches them.

For tests only, and off unless the process was started with FOLDER_VARIABLE. That variable names a folder. A point is
armed while a file of its name lies there; the first process that reaches the point takes the file away and kills
itself with SIGKILL. So a fault hits exactly once, whatever is started again afterwards, and the test sees by the
missing file that it did.

Standard library only, and none of its large modules: the launcher imports this. Any thread.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from enum import StrEnum

FOLDER_VARIABLE = "FLOTTA_FAILPOINTS"


class Point(StrEnum):
    """All points, in the order of a job's way. The names are those of the files that arm them."""

    FILE_UNNAMED = "file-unnamed"  # a key or token is on disk under its temporary name
    FILE_NAMED = "file-named"  # it has its name too, which is not synced yet
    BOOT_ID_KEPT = "boot-id-kept"  # the boot id is on disk, nothing runs yet
    ANNOUNCE_BEFORE = "announce-before"  # the discovery process was told what to announce
    COMMIT_BEFORE = "commit-before"  # a group of batches is written and not committed
    RESOURCES_KEPT = "resources-kept"  # results are on disk in LMDB, the rows that name them are not
    COMMIT_AFTER = "commit-after"  # the group is on disk, the store does not know it yet
    RELEASE_BEFORE = "release-before"  # the rows of removed jobs are gone, their results are still in LMDB
    COMMITTED_UNTOLD = "committed-untold"  # the store knows, and has not told those who wait
    ANSWER_BEFORE = "answer-before"  # what the operator asked is done and not answered
    SEND_BEFORE = "send-before"  # a sealed frame is about to be given to ZeroMQ
    SEND_AFTER = "send-after"  # ZeroMQ has the frame
    ACKNOWLEDGE_BEFORE = "acknowledge-before"  # a message is committed and not acknowledged
    ACKNOWLEDGED = "acknowledged"  # an acknowledgement came, its outbox row is still there
    TASK_BEFORE = "task-before"  # an attempt is on disk, no child has it
    SPAWN_BEFORE = "spawn-before"  # the launcher is about to start a child
    SPAWN_AFTER = "spawn-after"  # the child runs, the node does not know it
    TASK_COMPUTED = "task-computed"  # the child has the product and has not answered


def reached(point: Point) -> None:
    """Kills this process when `point` is armed. Costs one look at a variable when fail-points are off."""
    if _folder is not None:
        _hit(_folder, point)


def _hit(folder: str, point: Point) -> None:
    try:
        os.unlink(f"{folder}/{point}")  # noqa: PTH108 (pathlib would cost the launcher 1 MB)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _checked_folder(environment: Mapping[str, str]) -> str | None:
    """The folder of armed points, None when they are off. Ends the process with a sentence when it is no such folder:
    a fault that can never hit would look like one that was survived.
    """
    folder = environment.get(FOLDER_VARIABLE)
    if folder is None:
        return None
    try:
        unknown = sorted(set(os.listdir(folder)) - set(Point))  # noqa: PTH208
    except OSError as error:
        sys.exit(f"{FOLDER_VARIABLE} names {folder!r}, which is no folder to read ({error.strerror}).")
    status = os.stat(folder)  # noqa: PTH116
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        sys.exit(f"{FOLDER_VARIABLE} names {folder!r}, in which others could arm a fail-point and kill this process.")
    if unknown:
        sys.exit(f"{FOLDER_VARIABLE}: no fail-point is named {unknown[0]!r}; there are {', '.join(Point)}.")
    return folder


_folder = _checked_folder(os.environ)
