"""What a status says of ids and times can be shown to people, or it is no status."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from protocol.errors import Code, RemoteProtocolError
from protocol.limits import WALL_MS_MAX
from protocol.wire.jobs import JobStatus
from protocol.wire.registry import decode_message, encode_message

STATUS = JobStatus(
    job_id=b"j" * 32,
    project=b"p" * 16,
    submitter=b"s" * 32,
    state="running",
    epoch=1,
    submitted_ms=WALL_MS_MAX,
    ended_ms=0,
    tasks_done=0,
    tasks_all=1,
    cancelling=False,
    scheduler=b"n" * 32,
    holder_names={},
    durable=True,
)


def test_a_status_at_its_bounds_is_read() -> None:
    assert decode_message(*encode_message(STATUS)) == STATUS


@pytest.mark.parametrize(
    "changed",
    [
        {"job_id": b"j" * 31},
        {"project": b"p" * 32},
        {"submitter": b""},
        {"scheduler": b"n" * 33},
        {"submitted_ms": WALL_MS_MAX + 1},
        {"ended_ms": -1},
    ],
)
def test_a_status_outside_its_bounds_is_malformed(changed: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_message(*encode_message(msgspec.structs.replace(STATUS, **changed)))
    assert caught.value.code == Code.BODY_MALFORMED
