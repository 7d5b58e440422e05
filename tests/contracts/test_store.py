"""The contract of the port `Store`, held by a database file and by a database in memory alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.adapters.store import LocalStore
from actors.ports import Store
from protocol.errors import Code
from protocol.kinds import ATTEMPT, INBOX, KINDS, OUTBOX, PEER, SAFETY_KINDS, SEEN_BOOT
from protocol.limits import RECORD_BYTES_MAX, RESOURCE_BYTES_MAX, STORE_PAGE_ROWS_MAX
from protocol.machines.contract import Audit, Drop, Keep, LogJob, Put, Write

Mode = Literal["memory"] | Path
MODES: tuple[Mode, ...] = (Path("node.sqlite"), "memory")
JOB, OTHER_JOB = b"j" * 32, b"k" * 32


@pytest.fixture(params=MODES, ids=["file", "memory"])
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
def store(tmp_path: Path, mode: Mode) -> Iterator[Store]:
    opened = LocalStore.open(tmp_path, metadata=mode)
    yield opened
    opened.close()


def keep(data: bytes) -> Keep:
    return Keep(digest=hashlib.sha256(data).digest(), data=data)


def test_every_kind_can_be_written_read_replaced_and_dropped(store: Store) -> None:
    assert store.load(sorted(KINDS)) == {kind: [] for kind in KINDS}
    assert store.commit([tuple(Put(kind=kind, key=b"a", value=b"1") for kind in KINDS)]) == [None]
    assert store.commit([tuple(Put(kind=kind, key=b"a", value=b"2") for kind in KINDS)]) == [None]
    assert store.load(KINDS) == {kind: [(b"a", b"2")] for kind in KINDS}
    assert store.commit([tuple(Drop(kind=kind, key=b"a") for kind in KINDS)]) == [None]
    assert store.load(KINDS) == {kind: [] for kind in KINDS}


def test_dropping_what_is_not_there_is_no_fault(store: Store) -> None:
    assert store.commit([(Drop(kind=PEER, key=b"nobody"),)]) == [None]


def test_records_come_in_key_order_and_empty_values_stay_empty(store: Store) -> None:
    keys = [b"\xff", b"", b"\x00\x01", b"\x00", b"b"]
    store.commit([tuple(Put(kind=INBOX, key=key, value=b"") for key in keys)])
    assert store.load([INBOX]) == {INBOX: [(key, b"") for key in sorted(keys)]}


def test_no_batches_and_an_empty_batch_are_no_fault(store: Store) -> None:
    assert store.commit([]) == []
    assert store.commit([()]) == [None]


def test_a_batch_that_fails_is_rolled_back_alone(store: Store) -> None:
    good, after = Put(kind=INBOX, key=b"good", value=b""), Put(kind=INBOX, key=b"after", value=b"")
    bad: tuple[Write, ...] = (
        Put(kind=PEER, key=b"half", value=b""),
        Put(kind=INBOX, key=b"half", value=b""),
        LogJob(job_id=JOB, wall_ms=1, event="half"),
        Audit(wall_ms=1, actor="a", event="half"),
        keep(b"half"),
        Put(kind="no-such-kind", key=b"", value=b""),
    )
    outcomes = store.commit([(good,), bad, (after, Audit(wall_ms=2, actor="a", event="whole"))])
    assert [outcome and outcome.code for outcome in outcomes] == [None, Code.INTERNAL, None]
    assert "no-such-kind" in str(outcomes[1])
    assert store.load([INBOX, PEER]) == {INBOX: [(b"after", b""), (b"good", b"")], PEER: []}
    assert store.job_events(JOB) == []
    assert [row.event for row in store.audit_rows(after=0, limit=9)] == ["whole"]
    assert store.resource(keep(b"half").digest) is None
    assert store.verify_audit().ok


def test_a_record_above_its_limit_is_refused_and_one_below_is_stored(store: Store) -> None:
    below = Put(kind=OUTBOX, key=b"below", value=bytes(RECORD_BYTES_MAX - 1_000))
    above = Put(kind=OUTBOX, key=b"above", value=bytes(RECORD_BYTES_MAX + 1))
    outcomes = store.commit([(below,), (above,)])
    assert [outcome and outcome.code for outcome in outcomes] == [None, Code.TOO_LARGE_TO_STORE]
    assert store.load([OUTBOX]) == {OUTBOX: [(below.key, below.value)]}


def test_a_resource_is_read_back_and_an_unknown_one_is_none(store: Store) -> None:
    resources = [keep(b""), keep(b"small"), keep(bytes(RESOURCE_BYTES_MAX))]
    assert store.commit([(resource,) for resource in resources]) == [None] * 3
    assert store.commit([tuple(resources)]) == [None]
    assert [store.resource(resource.digest) for resource in resources] == [r.data for r in resources]
    assert store.resource(bytes(32)) is None


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (keep(bytes(RESOURCE_BYTES_MAX + 1)), Code.TOO_LARGE_TO_STORE),
        (Keep(digest=bytes(32), data=b"other"), Code.INTERNAL),
    ],
    ids=["too large", "wrong digest"],
)
def test_a_resource_that_cannot_be_stored_refuses_its_batch_alone(store: Store, bad: Keep, code: Code) -> None:
    batches = [
        (keep(b"one"), Put(kind=INBOX, key=b"1", value=b"")),
        (keep(b"two"), bad, Put(kind=INBOX, key=b"2", value=b"")),
        (Put(kind=INBOX, key=b"3", value=b""),),
    ]
    assert [outcome and outcome.code for outcome in store.commit(batches)] == [None, code, None]
    assert store.load([INBOX]) == {INBOX: [(b"1", b""), (b"3", b"")]}
    assert store.resource(keep(b"one").digest) == b"one"
    assert store.resource(keep(b"two").digest) is None


def test_job_events_are_of_one_job_in_order_and_can_be_followed(store: Store) -> None:
    for i in range(3):
        store.commit(
            [
                (LogJob(job_id=JOB, wall_ms=i, event=f"e{i}", detail=bytes([i])),),
                (LogJob(job_id=OTHER_JOB, wall_ms=i, event="other"),),
            ]
        )
    events = store.job_events(JOB)
    assert [(event.job_id, event.wall_ms, event.event, event.detail) for event in events] == [
        (JOB, i, f"e{i}", bytes([i])) for i in range(3)
    ]
    assert store.job_events(JOB, after=events[1].n) == events[2:]
    assert store.job_events(b"unknown") == []


def test_long_histories_come_in_pages(store: Store) -> None:
    writes: list[Write] = []
    for i in range(STORE_PAGE_ROWS_MAX + 1):
        writes += [LogJob(job_id=JOB, wall_ms=i, event="e"), Audit(wall_ms=i, actor="a", event="e")]
    assert store.commit([tuple(writes)]) == [None]
    first = store.job_events(JOB)
    assert len(first) == STORE_PAGE_ROWS_MAX
    assert [event.wall_ms for event in store.job_events(JOB, after=first[-1].n)] == [STORE_PAGE_ROWS_MAX]
    assert len(store.audit_rows(after=0, limit=10**9)) == STORE_PAGE_ROWS_MAX
    assert [row.n for row in store.audit_rows(after=2, limit=2)] == [3, 4]


def test_audit_rows_are_numbered_from_one_and_chained(store: Store) -> None:
    assert store.verify_audit().rows == 0
    store.commit([(Audit(wall_ms=1, actor="a", event="e", detail=b"d"), Audit(wall_ms=2, actor="b", event="f"))])
    store.commit([(Audit(wall_ms=3, actor="ü", event="g"),)])
    rows = store.audit_rows(after=0, limit=10)
    assert [(row.n, row.wall_ms, row.actor, row.event, row.detail) for row in rows] == [
        (1, 1, "a", "e", b"d"),
        (2, 2, "b", "f", b""),
        (3, 3, "ü", "g", b""),
    ]
    assert [row.previous_hash for row in rows] == [bytes(32), rows[0].hash, rows[1].hash]
    verdict = store.verify_audit()
    assert (verdict.rows, verdict.ok, verdict.first_bad) == (3, True, None)


def test_boot_ids_rise_and_are_never_below_the_wall_clock(tmp_path: Path, mode: Mode) -> None:
    boot_ids = []
    for wall_ms in (1_000, 1_000, 500, 9_000, 0):
        store = LocalStore.open(tmp_path, metadata=mode)
        boot_ids.append(store.next_boot_id(wall_ms))
        store.close()
    assert boot_ids == [1_000, 1_001, 1_002, 9_000, 9_001]


def test_what_safety_rests_on_survives_a_restart_in_every_mode(tmp_path: Path, mode: Mode) -> None:
    store = LocalStore.open(tmp_path, metadata=mode)
    writes = [Put(kind=kind, key=b"k", value=b"v") for kind in KINDS]
    store.commit(
        [
            (
                *writes,
                keep(b"r"),
                LogJob(job_id=JOB, wall_ms=1, event="e"),
                Audit(wall_ms=1, actor="a", event="e"),
            )
        ]
    )
    store.close()
    store = LocalStore.open(tmp_path, metadata=mode)
    survivors = SAFETY_KINDS if mode == "memory" else KINDS
    assert {kind for kind, rows in store.load(KINDS).items() if rows} == survivors
    assert store.verify_audit().rows == 1
    assert store.resource(keep(b"r").digest) == (None if mode == "memory" else b"r")
    assert len(store.job_events(JOB)) == (0 if mode == "memory" else 1)
    store.close()


_KEYS = st.binary(max_size=2)
_WRITES = st.one_of(
    st.builds(Put, kind=st.sampled_from([SEEN_BOOT, ATTEMPT]), key=_KEYS, value=st.binary(max_size=3)),
    st.builds(Drop, kind=st.sampled_from([SEEN_BOOT, ATTEMPT]), key=_KEYS),
    st.builds(Put, kind=st.just("no-such-kind"), key=_KEYS, value=st.just(b"")),
)
_GROUPS = st.lists(st.lists(st.lists(_WRITES, max_size=4).map(tuple), max_size=4), max_size=4)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=_GROUPS)
def test_any_history_leaves_what_its_accepted_batches_say(store: Store, groups: list[list[tuple[Write, ...]]]) -> None:
    for kind, rows in store.load([SEEN_BOOT, ATTEMPT]).items():
        store.commit([tuple(Drop(kind=kind, key=key) for key, _ in rows)])
    model: dict[str, dict[bytes, bytes]] = {SEEN_BOOT: {}, ATTEMPT: {}}
    for batches in groups:
        for batch, outcome in zip(batches, store.commit(batches), strict=True):
            valid = all(isinstance(write, Put | Drop) and write.kind in model for write in batch)
            assert (outcome is None) == valid
            for write in batch if valid else ():
                if isinstance(write, Put):
                    model[write.kind][write.key] = write.value
                elif isinstance(write, Drop):
                    model[write.kind].pop(write.key, None)
    assert store.load(model) == {kind: sorted(rows.items()) for kind, rows in model.items()}
