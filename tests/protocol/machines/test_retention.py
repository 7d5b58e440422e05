"""What a scheduler keeps of ended jobs: for how long, how much, and who removes it before."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import kinds
from protocol.errors import Code
from protocol.ids import JOB_ID_BYTES, format_id, node_id, short_job_id
from protocol.limits import (
    CLOCK_CONFIRM_MS,
    CLOCK_TOLERANCE_MS,
    JOBS_REMOVED_MAX,
    MEASURE_BYTES_MAX,
    ORDER_LIFE_MS,
    RECORD_BYTES_MAX,
    REMOVED_KEEP_MS,
    RESOURCE_BYTES_MAX,
    RETENTION_JOBS_AT_ONCE,
    RETENTION_LOOK_MS,
)
from protocol.machines import retention as retention_module
from protocol.machines.contract import Audit, Drop, DropLog, DropOldLogs, Now, Persist, Put, Refuse, Release, StartTask
from protocol.machines.events import OPERATOR, TaskProduced
from protocol.machines.job_book import JobBook
from protocol.machines.jobs import JobRow
from protocol.machines.removals import RemovedRow
from protocol.machines.retention import Retention
from protocol.machines.scheduler import SchedulerSnapshot
from protocol.machines.stored_results import RetentionRules
from protocol.plan.order import SignedOrder
from protocol.plan.plan import Outcome, sign_outcome
from protocol.plan.products import Manifest, is_large_result, manifest_of, product_digest
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.jobs import (
    AskCancel,
    AskJob,
    AskJobs,
    AskRemove,
    AskRemoveEnded,
    AskResult,
    JobRemoved,
    JobResult,
    JobsRemoved,
    JobStatus,
    Submit,
)
from protocol.words import exact_span
from tests.protocol.builders import STRANGER, SUBMITTER, WALL_MS, cancel_of, node_key, now, order, received, signed
from tests.protocol.fleet import Fleet, Node, product_of

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
DAY = RetentionRules(keep_ms=DAY_MS)
ANNA = node_id(SUBMITTER.public_key)


def new_order(fleet: Fleet, number: int, **changes: Any) -> tuple[SignedOrder, bytes]:
    wall_ms = fleet.now.wall_ms
    fields = {"nonce": number.to_bytes(16), "issued_ms": wall_ms, "expires_ms": wall_ms + ORDER_LIFE_MS}
    return signed(order(**(fields | changes)))


def ended_job(fleet: Fleet, number: int = 0) -> bytes:
    an_order, job_id = new_order(fleet, number)
    assert isinstance(fleet.submit(an_order), JobStatus)
    assert fleet.end(job_id).state == "succeeded"
    return job_id


def has_rows(fleet: Fleet, job_id: bytes) -> bool:
    return job_id in fleet.leader.rows[kinds.JOB]


def audited(fleet: Fleet) -> list[tuple[str, str, bytes]]:
    return [(row.actor, row.event, row.detail) for row in fleet.leader.audit if row.event.startswith("job removed")]


def code_of(answer: Any) -> str:
    assert isinstance(answer, Refuse)
    return answer.code


# --- the time is over --------------------------------------------------------------------------------------------


def test_an_ended_job_is_kept_for_its_time_and_then_goes_as_a_whole() -> None:
    fleet = Fleet(2, retention=DAY)
    job_id = ended_job(fleet)
    fleet.run_for(DAY_MS - HOUR_MS)
    assert isinstance(fleet.ask(AskResult(job_id=job_id)), JobResult)
    fleet.run_for(HOUR_MS + RETENTION_LOOK_MS)
    assert not has_rows(fleet, job_id)
    assert fleet.leader.resources == {}
    assert audited(fleet) == [("scheduler", "job removed, 18 bytes of results: kept for 1 day", job_id)]
    assert fleet.ask(AskJobs()).jobs == ()


@pytest.mark.parametrize("ask", [AskJob, AskResult])
def test_who_asks_for_a_job_whose_time_is_over_is_told_the_rule(ask: Any) -> None:
    fleet = Fleet(2, retention=DAY)
    job_id = ended_job(fleet)
    fleet.run_for(DAY_MS + RETENTION_LOOK_MS)
    for _ in range(2):
        answer = fleet.ask(ask(job_id=job_id))
        assert code_of(answer) == Code.JOB_REMOVED
        assert "kept for 1 day, as settings.results.keep_days says" in answer.sentence
        fleet.leader.restart()
    assert code_of(fleet.ask(ask(job_id=job_id), sender=node_id(STRANGER.public_key))) == Code.JOB_UNKNOWN


def test_a_node_that_was_down_when_the_time_was_over_removes_after_its_start() -> None:
    fleet = Fleet(2, retention=DAY)
    jobs = [ended_job(fleet, number) for number in range(3)]
    fleet.run_for(DAY_MS - HOUR_MS)
    fleet.leader.machines.clear()
    for timer in [one for one in fleet.timers if one[0] == 0]:
        del fleet.timers[timer]
    fleet.now = Now(fleet.now.boot_ns, fleet.now.wall_ms + 2 * HOUR_MS)
    fleet.leader.restart()
    assert all(has_rows(fleet, job_id) for job_id in jobs)  # two hours that it has not seen
    fleet.run_for(CLOCK_CONFIRM_MS + 2 * RETENTION_LOOK_MS)
    assert not any(has_rows(fleet, job_id) for job_id in jobs)


def test_kept_for_ever_is_kept_for_ever() -> None:
    fleet = Fleet(1, retention=RetentionRules(keep_ms=None))
    job_id = ended_job(fleet)
    fleet.now = Now(fleet.now.boot_ns + 4_000 * DAY_MS * 1_000_000, fleet.now.wall_ms + 4_000 * DAY_MS)
    fleet.run_for(RETENTION_LOOK_MS)
    assert has_rows(fleet, job_id)


def test_a_clock_that_jumps_ahead_removes_nothing_until_it_has_run_on() -> None:
    fleet = Fleet(1, retention=DAY)
    job_id = ended_job(fleet)
    fleet.now = Now(fleet.now.boot_ns, fleet.now.wall_ms + 30 * DAY_MS)
    fleet.run_for(CLOCK_CONFIRM_MS - HOUR_MS)
    assert has_rows(fleet, job_id)
    fleet.leader.restart()
    fleet.run_for(CLOCK_CONFIRM_MS - HOUR_MS)
    assert has_rows(fleet, job_id), "a restart begins the doubt anew"
    fleet.run_for(2 * HOUR_MS)
    assert not has_rows(fleet, job_id)


def test_a_live_job_is_never_due_however_old_it_is() -> None:
    def hangs(node: Node, start: StartTask) -> Any:
        return None if start.source else product_of(node, start)

    fleet = Fleet(1, compute=hangs, retention=RetentionRules(keep_ms=HOUR_MS))
    an_order, job_id = new_order(fleet, 0, limits=order().limits.__class__(deadline_ms=6 * HOUR_MS))
    fleet.submit(an_order)
    fleet.run_for(5 * HOUR_MS)
    assert fleet.status(job_id).state == "running"


# --- rows made by hand: many at once -----------------------------------------------------------------------------


def ended_row(number: int, ended_ms: int = WALL_MS, product: bytes = b"", submitter: bytes = b"") -> JobRow:
    """Of a job that succeeded with this product, or one of its own."""
    product = product or b"product %d" % number
    carried = manifest_of(product) if is_large_result(len(product)) else product
    job_id = number.to_bytes(32)
    outcome = Outcome(
        version=1,
        job_id=job_id,
        index=0,
        attempt=1,
        epoch=1,
        state="succeeded",
        inputs=(),
        digest=product_digest(carried),
        size_bytes=len(product),
    )
    return JobRow(
        job_id=job_id,
        order=SignedOrder(envelope=b"e", proof=b"p"),
        project=b"p" * 32,
        submitter=submitter or SUBMITTER.public_key,
        state="succeeded",
        epoch=1,
        participants=(),
        submitted_ms=ended_ms,
        holder_names={},
        ended_ms=ended_ms,
        digest=outcome.digest,
        outcome=sign_outcome(outcome, node_key(0)),
        expires_ms=ended_ms + HOUR_MS,
    )


class Alone:
    """The rule with its book and rows, without a scheduler."""

    def __init__(
        self, rows: list[JobRow], rules: RetentionRules, removed: dict[bytes, RemovedRow] | None = None
    ) -> None:
        self.rules = rules
        self.rows = {
            kinds.JOB: {row.job_id: encode_record(row) for row in rows},
            kinds.REMOVED: {key: encode_record(row) for key, row in (removed or {}).items()},
            kinds.WITNESSED: {b"": WALL_MS.to_bytes(8)},
        }
        self.released: list[bytes] = []
        self.writes: list[Any] = []
        self.start()

    def start(self) -> None:
        rows = {kind: sorted(table.items()) for kind, table in self.rows.items()}
        self.book = JobBook(rows, b"s" * 32)
        self.retention = Retention(self.rules, self.book, rows)

    def look(self, ms: int) -> int:
        """Returns when it wants to look again."""
        effects = self.retention.look(now(ms))
        self._apply(effects)
        return (effects[-1].at_ns - now(ms).boot_ns) // 1_000_000  # type: ignore[union-attr]

    def ask(self, message: Any, sender: bytes = OPERATOR, ms: int = 0) -> Any:
        effects = self.retention.asked(received(message, sender, session=b"s"), now(ms))
        self._apply(effects)
        return effects[-1].message  # type: ignore[union-attr]

    def _apply(self, effects: Any) -> None:
        for write in (one for effect in effects if isinstance(effect, Persist) for one in effect.writes):
            self.writes.append(write)
            match write:
                case Put(kind=kind, key=key, value=value):
                    self.rows[kind][key] = value
                case Drop(kind=kind, key=key):
                    del self.rows[kind][key]
                case Release(digests=digests):
                    self.released += digests
        self.book.check()


def test_many_that_are_due_go_in_bounded_steps_and_the_rest_soon_after() -> None:
    count = 2 * RETENTION_JOBS_AT_ONCE + 5
    alone = Alone([ended_row(number, WALL_MS - 2 * DAY_MS) for number in range(1, count + 1)], DAY)
    kept, pauses = [], []
    for step in range(3):
        pauses.append(alone.look(step))
        kept.append(len(alone.rows[kinds.JOB]))
    assert kept == [count - RETENTION_JOBS_AT_ONCE, 5, 0]
    assert pauses[0] == pauses[1] < 1_000 < pauses[2] == RETENTION_LOOK_MS


def test_the_row_goes_before_the_log_and_the_log_before_the_result_in_one_batch() -> None:
    alone = Alone([ended_row(1, WALL_MS - 2 * DAY_MS)], DAY)
    effects = alone.retention.look(now())
    assert sum(isinstance(effect, Persist) for effect in effects) == 1
    assert [type(write) for write in effects[0].writes] == [  # type: ignore[union-attr]
        Drop,
        DropLog,
        Release,
        Put,
        Audit,
        DropOldLogs,
    ]


def test_a_result_that_another_job_has_too_goes_with_the_last_of_them() -> None:
    old, young = ended_row(1, WALL_MS - 2 * DAY_MS, b"same"), ended_row(2, WALL_MS, b"same")
    alone = Alone([old, young], DAY)
    assert alone.retention.view().used_bytes == 4
    alone.look(0)
    assert (alone.released, alone.retention.view().used_bytes) == ([], 4)
    assert alone.ask(AskRemove(job_id=young.job_id)).freed_bytes == 4
    assert (alone.released, alone.retention.view().used_bytes) == ([young.digest], 0)


def test_a_job_that_ended_under_a_clock_that_was_ahead_does_not_hold_up_the_others() -> None:
    alone = Alone([ended_row(1, WALL_MS + 400 * DAY_MS), ended_row(2, WALL_MS - 2 * DAY_MS)], DAY)
    alone.look(0)
    assert list(alone.rows[kinds.JOB]) == [(1).to_bytes(32)]


def test_old_logs_of_jobs_of_others_go_by_the_same_rule_and_for_ever_means_all() -> None:
    alone, for_ever = Alone([], DAY), Alone([], RetentionRules(keep_ms=None))
    alone.look(60_000)
    for_ever.look(60_000)
    (swept,) = (write for write in alone.writes if isinstance(write, DropOldLogs))
    assert swept.before_ms == WALL_MS + 60_000 - DAY_MS
    assert not any(isinstance(write, DropOldLogs) for write in for_ever.writes)


# --- what is remembered of removed jobs --------------------------------------------------------------------------


def test_the_order_of_a_removed_job_is_never_run_again() -> None:
    fleet = Fleet(2)
    an_order, job_id = new_order(fleet, 0)
    fleet.submit(an_order)
    fleet.end(job_id)
    assert isinstance(fleet.ask(AskRemove(job_id=job_id)), JobRemoved)
    started = len(fleet.started)
    for _ in range(2):
        assert code_of(fleet.submit(an_order)) == Code.JOB_REMOVED
        fleet.leader.restart()
    fleet.run_for(10_000)
    assert len(fleet.started) == started


def test_a_removal_is_remembered_for_its_time_and_not_before_its_order_is_dead() -> None:
    alone = Alone([ended_row(1)], RetentionRules(keep_ms=None))
    alone.ask(AskRemove(job_id=(1).to_bytes(32)))
    for ms in range(0, REMOVED_KEEP_MS, 10 * DAY_MS):
        alone.look(ms)
    assert len(alone.rows[kinds.REMOVED]) == 1
    alone.look(REMOVED_KEEP_MS + 1)
    assert alone.rows[kinds.REMOVED] == {}


def removed_row(removed_ms: int, order_ends_ms: int) -> RemovedRow:
    return RemovedRow(
        submitter=ANNA,
        by="operator",
        ended_ms=removed_ms,
        removed_ms=removed_ms,
        order_ends_ms=order_ends_ms,
        freed_bytes=0,
    )


def many_removed(order_ends_ms: int) -> dict[bytes, RemovedRow]:
    return {
        number.to_bytes(32): removed_row(WALL_MS - JOBS_REMOVED_MAX + number, order_ends_ms)
        for number in range(1, JOBS_REMOVED_MAX + 1)
    }


def test_of_too_many_removals_the_oldest_are_forgotten() -> None:
    alone = Alone([ended_row(0)], DAY, many_removed(WALL_MS - 1))
    alone.look(0)
    assert len(alone.rows[kinds.REMOVED]) == JOBS_REMOVED_MAX - RETENTION_JOBS_AT_ONCE
    assert (1).to_bytes(32) not in alone.rows[kinds.REMOVED]
    assert isinstance(alone.ask(AskRemove(job_id=bytes(32))), JobRemoved)


def test_where_none_may_be_forgotten_nothing_more_is_removed() -> None:
    alone = Alone([ended_row(0, WALL_MS - 2 * DAY_MS)], DAY, many_removed(WALL_MS + HOUR_MS))
    alone.look(0)
    assert len(alone.rows[kinds.REMOVED]) == JOBS_REMOVED_MAX
    assert len(alone.rows[kinds.JOB]) == 1
    with pytest.raises(Exception, match="could still be started"):
        alone.ask(AskRemove(job_id=bytes(32)))


def test_a_row_of_an_older_version_counts_as_startable_for_the_longest_life_of_an_order() -> None:
    row = msgspec.structs.replace(ended_row(1), expires_ms=0)
    assert row.order_ends_ms == WALL_MS + 7 * DAY_MS + 2 * CLOCK_TOLERANCE_MS


# --- room --------------------------------------------------------------------------------------------------------


def view(fleet: Fleet) -> Any:
    snapshot: SchedulerSnapshot = fleet.leader.machines["scheduler"].machine.snapshot()  # type: ignore[assignment]
    return snapshot.results


def test_a_job_whose_result_might_not_fit_is_refused_and_removing_makes_room() -> None:
    large = TaskProduced(key=b"", product=b"")

    def compute(_node: Node, start: StartTask) -> Any:
        return msgspec.structs.replace(large, key=start.key, product=start.key[:32] * (MEASURE_BYTES_MAX // 32))

    fleet = Fleet(1, compute=compute, retention=RetentionRules(quota_bytes=3 * MEASURE_BYTES_MAX))
    jobs = [ended_job(fleet, number) for number in range(3)]
    refused = fleet.submit(new_order(fleet, 3)[0])
    assert code_of(refused) == Code.QUOTA_REACHED
    assert "settings.results.quota_mb" in refused.sentence
    assert "uses 12.0 MiB and has reserved 0 KiB" in refused.sentence
    assert refused.next_step.startswith("remove results with `flotta-p2p job remove`")
    assert all(isinstance(fleet.ask(AskResult(job_id=job_id)), JobResult) for job_id in jobs), "nothing went by itself"
    assert fleet.ask(AskRemove(job_id=jobs[1])).freed_bytes == MEASURE_BYTES_MAX
    ended_job(fleet, 3)


def test_live_jobs_have_their_room_reserved() -> None:
    fleet = Fleet(1, compute=lambda *_: None, retention=RetentionRules(quota_bytes=2 * MEASURE_BYTES_MAX))
    orders = [new_order(fleet, number) for number in range(3)]
    assert [type(fleet.submit(one)) for one, _ in orders[:2]] == [JobStatus, JobStatus]
    refused = fleet.submit(orders[2][0])
    assert isinstance(refused, Refuse) and "uses 0 KiB and has reserved 8.0 MiB" in refused.sentence
    assert refused.next_step.startswith("wait until running jobs have ended, or cancel some")
    assert (view(fleet).used_bytes, view(fleet).reserved_bytes) == (0, 2 * MEASURE_BYTES_MAX)
    assert isinstance(fleet.submit(orders[0][0]), JobStatus), "the same order again is the same job"
    fleet.leader.restart()
    assert code_of(fleet.submit(orders[2][0])) == Code.QUOTA_REACHED
    fleet.ask(AskCancel(job_id=orders[0][1], cancel=cancel_of(orders[0][1])))
    fleet.run_for(60_000)
    assert isinstance(fleet.submit(orders[2][0]), JobStatus)


def test_so_many_jobs_are_kept_and_not_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "JOBS_KEPT_MAX", 2)
    fleet = Fleet(1)
    jobs = [ended_job(fleet, number) for number in range(2)]
    refused = fleet.submit(new_order(fleet, 2)[0])
    assert code_of(refused) == Code.QUOTA_REACHED
    assert "settings.results.keep_days" in refused.next_step
    fleet.ask(AskRemove(job_id=jobs[0]))
    ended_job(fleet, 2)


# --- somebody removes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sender", "by", "actor"), [(OPERATOR, "operator", "operator"), (ANNA, "submitter", format_id(ANNA))]
)
def test_operator_and_submitter_remove_an_ended_job(sender: bytes, by: str, actor: str) -> None:
    fleet = Fleet(2)
    job_id = ended_job(fleet)
    first = fleet.ask(AskRemove(job_id=job_id), sender)
    assert (first.by, first.freed_bytes, first.already) == (by, 18, False)
    assert not has_rows(fleet, job_id)
    assert fleet.leader.resources == {}
    assert audited(fleet) == [(actor, "job removed, 18 bytes of results", job_id)]
    fleet.leader.restart()
    again = fleet.ask(AskRemove(job_id=job_id), sender)
    assert again == msgspec.structs.replace(first, already=True)
    assert len(audited(fleet)) == 1
    assert code_of(fleet.ask(AskResult(job_id=job_id), sender)) == Code.JOB_REMOVED


def test_nobody_else_removes_a_job_or_learns_that_it_was_there() -> None:
    fleet = Fleet(2)
    job_id, other = ended_job(fleet), node_id(STRANGER.public_key)
    assert code_of(fleet.ask(AskRemove(job_id=job_id), other)) == Code.JOB_UNKNOWN
    assert has_rows(fleet, job_id)
    fleet.ask(AskRemove(job_id=job_id))
    assert code_of(fleet.ask(AskRemove(job_id=job_id), other)) == Code.JOB_UNKNOWN
    assert code_of(fleet.ask(AskRemove(job_id=b"?" * 32))) == Code.JOB_UNKNOWN


def test_a_job_that_is_not_over_is_not_removed() -> None:
    fleet = Fleet(1, compute=lambda *_: None)
    an_order, job_id = new_order(fleet, 0)
    fleet.submit(an_order)
    refused = fleet.ask(AskRemove(job_id=job_id))
    assert code_of(refused) == Code.JOB_NOT_ENDED
    assert f"job cancel {short_job_id(job_id)}`" in refused.next_step
    assert fleet.ask(AskRemoveEnded(ended_ms_ago=0)) == JobsRemoved(job_ids=(), freed_bytes=0, left=0)
    assert has_rows(fleet, job_id)


def test_a_failed_job_is_removed_too_and_frees_nothing() -> None:
    fleet = Fleet(1, compute=lambda *_: None)
    an_order, job_id = new_order(fleet, 0)
    fleet.submit(an_order)
    fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
    fleet.run_for(60_000)
    assert fleet.ask(AskRemove(job_id=job_id)).freed_bytes == 0
    assert not has_rows(fleet, job_id)


def test_all_that_ended_long_ago_are_removed_in_portions_and_the_others_stay() -> None:
    count = RETENTION_JOBS_AT_ONCE + 3
    old = [ended_row(number, WALL_MS - 2 * DAY_MS) for number in range(1, count + 1)]
    young = ended_row(1_000, WALL_MS - DAY_MS + 1)
    alone = Alone([*old, young], RetentionRules(keep_ms=None))
    first = alone.ask(AskRemoveEnded(ended_ms_ago=DAY_MS))
    second = alone.ask(AskRemoveEnded(ended_ms_ago=DAY_MS))
    assert (len(first.job_ids), first.left, len(second.job_ids), second.left) == (RETENTION_JOBS_AT_ONCE, 3, 3, 0)
    assert first.freed_bytes + second.freed_bytes == sum(len(b"product %d" % n) for n in range(1, count + 1))
    assert list(alone.rows[kinds.JOB]) == [young.job_id]


def test_of_all_that_ended_a_submitter_removes_the_own_ones() -> None:
    mine, other = ended_row(1, submitter=SUBMITTER.public_key), ended_row(2, submitter=STRANGER.public_key)
    alone = Alone([mine, other], RetentionRules(keep_ms=None))
    assert alone.ask(AskRemoveEnded(ended_ms_ago=0), ANNA).job_ids == (mine.job_id,)
    assert list(alone.rows[kinds.JOB]) == [other.job_id]


def test_what_workers_keep_of_executed_orders_is_not_touched() -> None:
    fleet = Fleet(2)
    job_id = ended_job(fleet)
    fleet.run_for(10_000)
    fleet.ask(AskRemove(job_id=job_id))
    assert all(job_id in node.rows[kinds.EXECUTED] for node in fleet.nodes)


@pytest.mark.parametrize(
    ("ms", "words"), [(90 * DAY_MS, "90 days"), (DAY_MS, "1 day"), (HOUR_MS, "1 hour"), (36 * HOUR_MS, "1.5 days")]
)
def test_a_span_is_told_as_the_operator_wrote_it(ms: int, words: str) -> None:
    assert exact_span(ms) == words


# --- any history -------------------------------------------------------------------------------------------------

PRODUCTS = (b"a" * 100, b"b" * 5_000, hashlib.shake_128(b"c").digest(MEASURE_BYTES_MAX))
QUOTA = 3 * MEASURE_BYTES_MAX
_ACTIONS = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 2 * len(PRODUCTS) - 1)),  # a product, and whether its job ends at once
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("remove-ended"), st.sampled_from([0, HOUR_MS])),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([1_000, 20_000, HOUR_MS])),
    st.tuples(st.just("jump"), st.sampled_from([-DAY_MS, HOUR_MS, DAY_MS])),
)


def holds(fleet: Fleet, submitted: set[bytes], removed: set[bytes]) -> None:
    rows = {
        key: decode_record(value, JobRow, bytes_max=RECORD_BYTES_MAX)
        for key, value in fleet.leader.rows.get(kinds.JOB, {}).items()
    }
    gone = set(fleet.leader.rows.get(kinds.REMOVED, {}))
    assert submitted == rows.keys() | gone, "an accepted job is kept, or removed by name"
    assert not rows.keys() & gone
    assert removed <= gone
    results = {row.digest: row.result_bytes for row in rows.values() if row.digest}
    named = set(results) | {key[JOB_ID_BYTES:] for key in fleet.leader.rows.get(kinds.CHUNK, {})}
    for digest, size_bytes in results.items():
        stored = fleet.leader.resources[digest]
        if is_large_result(size_bytes):
            manifest = decode_record(stored, Manifest, bytes_max=RESOURCE_BYTES_MAX)
            named.update(manifest.chunks)
            stored = fleet.leader.whole(manifest)
        assert len(stored) == size_bytes
    assert fleet.leader.resources.keys() == named, "what rows name is stored, and nothing else"
    assert view(fleet).used_bytes == sum(results.values())
    assert view(fleet).used_bytes + view(fleet).reserved_bytes <= QUOTA


def done(fleet: Fleet, action: str, value: int, chosen: bytes) -> set[bytes]:
    """Does this to the chosen job, to all or to the time. Returns the jobs that were removed by it."""
    match action:
        case "remove":
            return {chosen} if isinstance(fleet.ask(AskRemove(job_id=chosen)), JobRemoved) else set()
        case "remove-ended":
            return set(fleet.ask(AskRemoveEnded(ended_ms_ago=value)).job_ids)
        case "cancel":
            fleet.ask(AskCancel(job_id=chosen, cancel=cancel_of(chosen)))
        case "restart":
            fleet.leader.restart()
        case "wait":
            fleet.run_for(value)
        case "jump":
            fleet.now = Now(fleet.now.boot_ns, fleet.now.wall_ms + value)
    return set()


@settings(max_examples=40)
@given(st.lists(_ACTIONS, max_size=25))
def test_whatever_ends_is_removed_and_restarts_what_is_stored_is_what_the_rows_name(
    actions: list[tuple[str, int]],
) -> None:
    product = {"of": PRODUCTS[0]}

    def compute(node: Node, start: StartTask) -> Any:
        merges = start.request.operation == "summary.merge"
        return TaskProduced(key=start.key, product=product["of"]) if merges else product_of(node, start)

    fleet = Fleet(2, compute=compute, retention=RetentionRules(keep_ms=3 * HOUR_MS, quota_bytes=QUOTA))
    submitted: set[bytes] = set()
    removed: set[bytes] = set()
    for number, (action, value) in enumerate(actions):
        if action == "submit":
            product["of"] = PRODUCTS[value % len(PRODUCTS)]
            an_order, job_id = new_order(fleet, number)
            if isinstance(fleet.ask(Submit(order=an_order)), JobStatus):
                submitted.add(job_id)
            fleet.run_for(value // len(PRODUCTS) * 20_000)
        else:
            chosen = sorted(submitted)[value % len(submitted)] if submitted else b"?" * 32
            removed |= done(fleet, action, value, chosen)
        holds(fleet, submitted, removed)
    assert bool(submitted) == any(action == "submit" for action, _ in actions)
