"""What is given to one child: as much as may wait for it to read."""

from __future__ import annotations

from typing import Any, cast

from actors.task_work import Child, Work
from protocol.limits import (
    CHILD_MESSAGE_BYTES_MAX,
    CHILD_OUTBOX_BYTES_MAX,
    CHUNK_BYTES,
    PIECES_AHEAD_MAX,
    TASK_RUN_MS_MAX,
)


def small_task(size_bytes: int) -> Work:
    return Work(b"job", b"key", bytes(size_bytes), TASK_RUN_MS_MAX, cast(Any, None), "summary.merge")


def test_what_waits_for_a_child_leaves_room_for_the_chunks_that_it_asks_for() -> None:
    child, half = Child(), CHILD_MESSAGE_BYTES_MAX // 2
    child.owner = b"job"
    for _ in range(2):
        assert child.takes(small_task(half))
        child.works.append(small_task(half))
    assert not child.takes(small_task(1))
    assert sum(len(work.message) for work in child.works) + 2 * PIECES_AHEAD_MAX * CHUNK_BYTES < CHILD_OUTBOX_BYTES_MAX
    child.works.popleft()
    assert child.takes(small_task(1))


def test_a_child_without_work_takes_any_of_its_job_however_large() -> None:
    child = Child()
    child.owner = b"job"
    assert child.takes(small_task(CHILD_MESSAGE_BYTES_MAX + 1))
