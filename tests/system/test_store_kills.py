"""kill -9 of a process that writes, at random moments: what was acknowledged is there, whole, and nothing else is."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import pytest

from actors.adapters.store import LocalStore
from protocol.kinds import EXECUTED, INBOX
from protocol.limits import STORE_PAGE_ROWS_MAX
from tests.system.store_writer import JOB, resource_of

pytestmark = pytest.mark.system

GROUP_MAX = 8  # batches of one group of the writer


def write_until_killed(folder: Path, metadata: str, first: int, chance: random.Random) -> int:
    """The number of the last batch that was acknowledged before the kill."""
    command = [sys.executable, "-m", "tests.system.store_writer", str(folder), metadata, str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            started = writer.stdout.readline()
            time.sleep(chance.uniform(0, 0.08))
        finally:
            writer.kill()
        acknowledged = [line for line in (started + writer.stdout.read()).splitlines(keepends=True) if line[-1] == "\n"]
    assert acknowledged, "the writer ended before its first acknowledgement"
    return int(acknowledged[-1])


def numbers(store: LocalStore, kind: str) -> set[int]:
    return {int.from_bytes(key) for key, _ in store.load([kind])[kind]}


def logged(store: LocalStore) -> set[int]:
    found: set[int] = set()
    after = 0
    while events := store.job_events(JOB, after):
        found |= {event.wall_ms for event in events}
        after = events[-1].n
    return found


def audited(store: LocalStore) -> set[int]:
    found: set[int] = set()
    while rows := store.audit_rows(len(found), STORE_PAGE_ROWS_MAX):
        found |= {int.from_bytes(row.detail) for row in rows}
    return found


@pytest.mark.parametrize(("mode", "kills"), [("node.sqlite", 20), ("memory", 5)])
def test_no_acknowledged_batch_is_lost_and_none_is_half_there(tmp_path: Path, mode: str, kills: int) -> None:
    chance = random.Random(20_250_101)
    metadata: Literal["memory"] | Path = "memory" if mode == "memory" else Path(mode)
    last = 0
    for _ in range(kills):
        acknowledged = write_until_killed(tmp_path, mode, last + 1, chance)
        store = LocalStore.open(tmp_path, metadata=metadata)
        executed = numbers(store, EXECUTED)
        last = max(executed)
        assert acknowledged <= last <= acknowledged + GROUP_MAX
        assert executed == audited(store) == set(range(1, last + 1))
        verdict = store.verify_audit()
        assert (verdict.ok, verdict.rows) == (True, last)
        in_main = set[int]() if metadata == "memory" else executed
        assert numbers(store, INBOX) == logged(store) == in_main
        for i in in_main:
            assert store.resource(resource_of(i).digest) == resource_of(i).data
        store.close()
