"""Turns: what several steps want leaves together, and means the same as one by one."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import kinds
from protocol.limits import (
    ACKNOWLEDGED_AT_ONCE_MAX,
    PRODUCT_BYTES_MAX,
    RESULTS_AT_ONCE_MAX,
    SENTENCE_CHARS_MAX,
)
from protocol.machines.combining import combine_effects, combine_writes
from protocol.machines.contract import Drop, Effect, KillTask, LogJob, Publish, Put, Refuse, Send, SetTimer, StartTask
from protocol.machines.delivery import Courier
from protocol.machines.events import JobChanged, TaskFaulted, TaskProduced
from protocol.plan.plan import Outcome, sign_outcome, verify_outcome
from protocol.plan.tasks import TaskRequest
from protocol.wire.jobs import Renewed, Results, Stop, TaskResult
from protocol.wire.peers import Acknowledge
from protocol.wire.registry import encode_message
from tests.protocol.builders import messages, node_key, now, received, sends, writes
from tests.protocol.fleet import live_of
from tests.protocol.machines.test_delivery import OTHER, OWN, PEER, STOP, Rows, Say, Talker
from tests.protocol.machines.test_probe import probe_fleet

JOB = b"j" * 32
NUMBER = 42  # of Stop


def results(*products: bytes, job_id: bytes = JOB, to: bytes = PEER, fence: int = 1, message_id: bytes = b"") -> Send:
    made = tuple(TaskResult(outcome=b"o" * 10, product=product) for product in products)
    return Send(message=Results(job_id=job_id, results=made), to=to, fence=fence, message_id=message_id)


def acknowledge(*ids: bytes, to: bytes = PEER, number: int = NUMBER) -> Send:
    return Send(message=Acknowledge(type=number, message_ids=ids), to=to)


def test_results_of_one_job_for_one_scheduler_travel_together_and_others_do_not() -> None:
    apart = [
        results(b"3", fence=2),
        results(b"4", job_id=b"k" * 32),
        results(b"5", to=OTHER),
        results(b"6", message_id=b"m" * 16),
    ]
    effects = combine_effects([results(b"1"), *apart, results(b"2")])
    assert effects == [results(b"1", b"2"), *apart]


def test_a_task_that_is_stopped_in_the_turn_of_its_start_never_starts_and_one_that_runs_is_killed() -> None:
    request = TaskRequest(operation="probe.work", artifact=b"", source=None, inputs=(), labels=())
    start = StartTask(key=b"k", job_id=JOB, source="", request=request, limit_ms=1)
    other = msgspec.structs.replace(start, key=b"l")
    assert combine_effects([start, other, KillTask(key=b"k")]) == [other, KillTask(key=b"k")]
    assert combine_effects([KillTask(key=b"k"), start]) == [KillTask(key=b"k"), start]


def test_acknowledgements_of_one_type_for_one_peer_travel_together() -> None:
    stray = [acknowledge(b"c", to=OTHER), acknowledge(b"d", number=40)]
    effects = combine_effects([acknowledge(b"a"), *stray, acknowledge(b"b")])
    assert effects == [acknowledge(b"a", b"b"), *stray]


def test_a_full_message_is_followed_by_the_next_one_and_each_fits_its_cap() -> None:
    ids = [number.to_bytes(16) for number in range(3 * ACKNOWLEDGED_AT_ONCE_MAX)]
    sent = combine_effects([acknowledge(one) for one in ids])
    assert [len(one.message.message_ids) for one in sent if isinstance(one, Send)] == [ACKNOWLEDGED_AT_ONCE_MAX] * 3
    assert [one for send in sent if isinstance(send, Send) for one in send.message.message_ids] == ids
    for send in sent:
        assert isinstance(send, Send)
        encode_message(send.message)


def test_results_fit_into_their_message_however_large_products_and_reasons_are() -> None:
    text = "\U0010ffff" * SENTENCE_CHARS_MAX
    outcome = Outcome(
        version=1, job_id=JOB, index=1, attempt=1, epoch=1, state="failed", inputs=(), sentence=text, next_step=text
    )
    widest = sign_outcome(outcome, node_key(1))
    for outcome_bytes, product in ((widest, b""), (b"o" * 600, b"x" * PRODUCT_BYTES_MAX), (b"o" * 600, b"x" * 9_000)):
        one = Results(job_id=JOB, results=(TaskResult(outcome=outcome_bytes, product=product),))
        sent = combine_effects([Send(message=one, to=PEER) for _ in range(RESULTS_AT_ONCE_MAX + 1)])
        assert 1 < len(sent) < RESULTS_AT_ONCE_MAX
        for send in sent:
            assert isinstance(send, Send)
            encode_message(send.message)


def test_of_timers_and_news_the_newest_stays_and_nothing_else_is_lost() -> None:
    status = live_of(probe_fleet(tasks=2, hanging=True))[0]
    news = [Publish(event=JobChanged(status=status)), Publish(event=JobChanged(status=status))]
    timers = [SetTimer(name="t", at_ns=number, generation=number) for number in (1, 2)]
    others: list[Effect] = [Refuse(code="busy", sentence="x"), Refuse(code="busy", sentence="x"), Publish(event=1)]  # type: ignore[arg-type]
    assert combine_effects([timers[0], news[0], *others, timers[1], news[1]]) == [*others, timers[1], news[1]]


def test_of_the_writes_of_one_row_the_last_stays_and_every_line_of_a_log() -> None:
    line = LogJob(job_id=JOB, wall_ms=1, event="e")
    first, last = Put(kind="job", key=b"k", value=b"1"), Put(kind="job", key=b"k", value=b"2")
    other, drop = Put(kind="task", key=b"k", value=b"3"), Drop(kind="task", key=b"k")
    assert combine_writes([first, line, other, last, line, drop]) == (line, last, line, drop)


# --- turns of a courier -----------------------------------------------------------------------------


def talker() -> Courier:
    return Courier(Talker(), "talker", OWN, 1, 1, {})


def test_a_turn_is_one_batch_with_the_inbox_rows_of_all_its_messages_and_one_acknowledgement() -> None:
    ids = [number.to_bytes(16) for number in range(5)]
    effects = talker().turn([received(STOP, PEER, message_id=one) for one in ids], now())
    assert [key.key.removeprefix(b"talker\0" + PEER) for key in writes(effects) if isinstance(key, Put)] == ids
    assert messages(effects) == [Acknowledge(type=NUMBER, message_ids=tuple(ids))]


def test_a_copy_in_the_same_turn_is_acknowledged_and_applied_once() -> None:
    machine = talker()
    effects = machine.turn([received(STOP, PEER), received(STOP, PEER)], now())
    assert len(machine.machine.heard) == 1  # type: ignore[attr-defined]
    assert sum(isinstance(one, Put) for one in writes(effects)) == 1
    assert messages(effects) == [Acknowledge(type=NUMBER, message_ids=(b"m" * 16, b"m" * 16))]


SMALL_IDS = st.integers(0, 5).map(lambda number: number.to_bytes(16))
EVENTS = st.lists(
    st.one_of(
        st.builds(lambda one, sender: ("stop", one, sender), SMALL_IDS, st.sampled_from([PEER, OTHER])),
        st.builds(lambda number, to: ("say", number, to), st.integers(1, 3), st.sampled_from([PEER, OTHER])),
        st.builds(lambda at: ("acknowledged", at, PEER), st.integers(0, 8)),
        st.just(("renewed", 0, PEER)),
    ),
    max_size=30,
)


def event_of(told: tuple[str, Any, bytes], sent: list[Send]) -> Any:
    kind, value, node = told
    if kind == "stop":
        return received(Stop(job_id=JOB), node, message_id=value)
    if kind == "say":
        return Say(messages=value, to=node)
    if kind == "acknowledged":
        return received(Acknowledge(type=NUMBER, message_ids=(sent[value].message_id,)), node)
    return received(Renewed(job_id=JOB, token=1), node)


@given(EVENTS, st.lists(st.integers(1, 6), min_size=1))
def test_turns_commit_the_same_rows_as_single_steps(told: list[tuple[str, Any, bytes]], sizes: list[int]) -> None:
    """Whatever comes, and however it is grouped: the same rows, messages and acknowledged ids at the end. What is
    acknowledged was sent before: a message leaves after the commit of its turn.
    """
    single, single_rows = talker(), Rows()
    grouped, grouped_rows = talker(), Rows()
    sent = sends(single_rows.apply(single.step(Say(messages=9), now())))
    assert sends(grouped_rows.apply(grouped.step(Say(messages=9), now()))) == sent
    events = [event_of(one, sent) for one in told]
    alone = [one for event in events for one in sends(single_rows.apply(single.step(event, now())))]
    together: list[Send] = []
    while events:
        for size in sizes:
            turn, events = events[:size], events[size:]
            together += sends(grouped_rows.apply(grouped.turn(turn, now()))) if turn else []
    assert grouped_rows.tables == single_rows.tables
    assert grouped.snapshot() == single.snapshot()
    assert said(together) == said(alone)


def said(sent: list[Send]) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """(acknowledged ids with the peer that hears them, ids of messages): sorted."""
    acknowledged = [
        (one.to, i) for one in sent if isinstance(one.message, Acknowledge) for i in one.message.message_ids
    ]
    return sorted(acknowledged), sorted(one.message_id for one in sent if isinstance(one.message, Stop))


@settings(max_examples=15)  # each makes two networks
@given(st.lists(st.booleans(), min_size=8, max_size=8), st.lists(st.integers(1, 5), min_size=1))
def test_a_worker_answers_the_same_in_turns_as_in_single_steps(good: list[bool], sizes: list[int]) -> None:
    """The tasks of a job end in any groups: the same rows of attempts, and the same outcomes, each once."""
    outcomes = []
    rows = []
    for grouping in ([1], sizes):
        fleet = probe_fleet(tasks=len(good), hanging=True)
        node = fleet.nodes[1]
        ends = [
            TaskProduced(key=key, product=b"p") if fine else TaskFaulted(key=key, code="x", sentence="y")
            for key, fine in zip(node.running, good, strict=True)
        ]
        told: list[Send] = []
        while ends:
            for size in grouping:
                turn, ends = ends[:size], ends[size:]
                effects = node.machines["worker"].turn(turn, fleet.now) if turn else ()
                for effect in effects[:1]:
                    node.apply("worker", effect)  # type: ignore[arg-type]
                told += sends(effects)
        each = [result for one in told if isinstance(one.message, Results) for result in one.message.results]
        outcomes.append(sorted((verify_outcome(one.outcome)[0].index, one.outcome, one.product) for one in each))
        rows.append(node.rows[kinds.ATTEMPT])
    assert outcomes[0] == outcomes[1] and len(outcomes[0]) == len(good)
    assert rows[0] == rows[1]
