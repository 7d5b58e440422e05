"""Products too large for a message: they go by chunks, to who takes them and to nobody else, and a transfer that was
cut off goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from protocol import kinds
from protocol.errors import Code, RemoteProtocolError
from protocol.limits import (
    CHUNK_BYTES,
    CHUNK_PATIENCE_MS,
    CHUNKS_ASKED_MAX,
    INLINE_BYTES_MAX,
    JOB_TASKS_MAX,
    PRODUCT_BYTES_MAX,
    TASK_FETCH_BYTES_MAX,
    TASK_INPUT_BYTES_MAX,
)
from protocol.machines import attempts, transfers
from protocol.machines.contract import KillTask, Received, Refuse, StartTask
from protocol.machines.events import PeersAllowed, ProjectsHeld, TaskPiece, TaskProduced
from protocol.machines.worker import Worker
from protocol.plan import operations
from protocol.plan.products import Manifest, chunk_digest, chunks_of, inline_bytes, manifest_of, product_digest
from protocol.policy import NodePolicy
from protocol.wire.jobs import (
    AskCancel,
    AskChunk,
    AskResult,
    AskResultChunk,
    Chunk,
    JobResult,
    ResultChunk,
    Results,
    Stop,
    Tasks,
)
from protocol.wire.registry import decode_message, encode_message
from tests.protocol.builders import PROJECT, cancel_of, signed
from tests.protocol.fleet import Fleet, Node, product_of

PRODUCT_BYTES = 3 * CHUNK_BYTES + 1_000


def bytes_of(label: str, size: int = PRODUCT_BYTES) -> bytes:
    return hashlib.shake_128(label.encode()).digest(size)


def makes(*operations: str, size: int = PRODUCT_BYTES) -> Callable[[Node, StartTask], Any]:
    """The products of these operations are large; one that takes large ones finds every byte of them."""

    def compute(node: Node, start: StartTask) -> Any:
        for carried in start.request.inputs:
            if isinstance(carried, Manifest):
                assert manifest_of(node.whole(carried)) == carried
        if start.request.operation in operations:
            return TaskProduced(key=start.key, product=bytes_of(f"{node.number} {start.request.operation}", size))
        return product_of(node, start)

    return compute


def runs(fleet: Fleet) -> bytes:
    """Submits a job."""
    an_order, job_id = signed()
    fleet.submit(an_order)
    return job_id


def counting(fleet: Fleet, drop: Callable[[Received], bool] = lambda event: False) -> Counter[str]:
    """Counts the messages that arrive, by name; those for which `drop` is true are lost."""
    seen: Counter[str] = Counter()

    def hear(event: Received) -> Received | None:
        if drop(event):
            return None
        seen[type(event.message).__name__] += 1
        return event

    fleet.alter = hear
    return seen


def chunk_rows(fleet: Fleet) -> int:
    return sum(len(node.rows.get(kinds.CHUNK, {})) for node in fleet.nodes)


# --- the good way ------------------------------------------------------------------------------------------------


def test_large_products_of_every_step_reach_their_takers_whole_and_leave_nothing_behind() -> None:
    fleet = Fleet(3, compute=makes("summary.prepare", "summary.measure", "summary.merge"))
    job_id = runs(fleet)
    assert fleet.end(job_id).state == "succeeded"
    fleet.run_for(10_000)
    assert chunk_rows(fleet) == 0
    assert [len(node.resources) for node in fleet.nodes] == [1 + 4, 0, 0], "the manifest of the result and its chunks"


def test_a_large_result_is_given_chunk_by_chunk_to_its_submitter() -> None:
    fleet = Fleet(1, compute=makes("summary.merge"))
    job_id = runs(fleet)
    fleet.end(job_id)
    result = fleet.ask(AskResult(job_id=job_id))
    assert isinstance(result, JobResult) and isinstance(result.product, Manifest)
    chunks = [fleet.ask(AskResultChunk(job_id=job_id, digest=digest)) for digest in result.product.chunks]
    assert all(isinstance(chunk, ResultChunk) for chunk in chunks)
    assert b"".join(chunk.data for chunk in chunks) == bytes_of("0 summary.merge")


def test_a_chunk_of_another_result_is_not_given() -> None:
    fleet = Fleet(1, compute=makes("summary.merge"))
    job_id = runs(fleet)
    fleet.end(job_id)
    fleet.leader.resources[chunk_digest(b"other")] = b"other"
    refused = fleet.ask(AskResultChunk(job_id=job_id, digest=chunk_digest(b"other")))
    assert isinstance(refused, Refuse) and refused.code == Code.RESULT_NOT_READY
    stranger = fleet.ask(AskResultChunk(job_id=job_id, digest=chunk_digest(b"other")), sender=b"x" * 32)
    assert isinstance(stranger, Refuse) and stranger.code == Code.JOB_UNKNOWN


def test_a_small_result_has_no_chunks() -> None:
    fleet = Fleet(1)
    job_id = runs(fleet)
    fleet.end(job_id)
    refused = fleet.ask(AskResultChunk(job_id=job_id, digest=b"d" * 32))
    assert isinstance(refused, Refuse) and refused.code == Code.RESULT_NOT_READY


def test_products_that_would_not_fit_into_one_message_together_go_by_chunks() -> None:
    """Seven of 150,000 bytes: each would be carried whole if it were taken alone."""
    assert INLINE_BYTES_MAX > 150_000 and TASK_INPUT_BYTES_MAX < 7 * 150_000
    fleet = Fleet(1, sources=7, compute=makes("summary.measure", size=150_000))
    job_id = runs(fleet)
    assert fleet.end(job_id).state == "succeeded"
    assert inline_bytes(7) < 150_000 <= inline_bytes(1)


def test_no_more_chunks_than_the_window_are_asked_for_at_once() -> None:
    fleet = Fleet(2, compute=makes("summary.measure", size=2 * CHUNKS_ASKED_MAX * CHUNK_BYTES))
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, sum(isinstance(event.message, AskChunk | Chunk) for _, event in fleet.wire))

    fleet.after_step = look
    job_id = runs(fleet)
    assert fleet.end(job_id).state == "succeeded"
    assert CHUNKS_ASKED_MAX // 2 < most <= CHUNKS_ASKED_MAX


# --- losses, restarts --------------------------------------------------------------------------------------------


def test_every_chunk_and_question_that_is_lost_once_is_asked_for_again() -> None:
    fleet = Fleet(2, compute=makes("summary.measure"))
    lost: set[Any] = set()

    def drop(event: Received) -> bool:
        message = event.message
        if not isinstance(message, AskChunk | Chunk) or (type(message), message.digest) in lost:
            return False
        lost.add((type(message), message.digest))
        return True

    counting(fleet, drop)
    assert fleet.end(runs(fleet)).state == "succeeded"
    assert len(lost) == 2 * 4


@pytest.mark.parametrize("number", [0, 1], ids=["who takes", "who made"])
def test_after_a_restart_a_transfer_goes_on_with_what_is_missing(number: int) -> None:
    fleet = Fleet(2, compute=makes("summary.measure"))
    stopped = False

    def drop(event: Received) -> bool:
        return stopped and isinstance(event.message, Chunk)

    seen = counting(fleet, drop)
    job_id = runs(fleet)
    while seen["Chunk"] < 2:
        assert fleet._one()
    stopped = True
    fleet.run()
    assert chunk_rows(fleet) == 2 * 4 + 2, "of both products where they were made, and two where one is taken"
    stopped = False
    fleet.nodes[number].restart()
    for node in fleet.nodes:
        node.meet(fleet.nodes[1 - node.number])
    assert fleet.end(job_id).state == "succeeded"
    assert seen["Chunk"] == 4, "no chunk came twice"


def test_a_product_that_was_being_made_when_its_node_stopped_is_made_anew() -> None:
    fleet = Fleet(2, compute=lambda node, start: None if start.source else product_of(node, start))
    job_id = runs(fleet)
    fleet.run()
    node = fleet.nodes[1]
    key = next(iter(node.running))
    piece = TaskPiece(key=key, number=0, data=bytes_of("given up", CHUNK_BYTES), run=node.running[key].run)
    fleet.step(node, "worker", piece)
    assert chunk_rows(fleet) >= 1
    fleet.compute = makes("summary.measure")
    node.restart()
    node.meet(fleet.leader)
    assert fleet.end(job_id).state == "succeeded"
    fleet.run_for(10_000)
    assert chunk_rows(fleet) == 0 and not node.resources, "what was given up is gone too"


def test_who_sends_nothing_for_long_is_named() -> None:
    fleet = Fleet(2, compute=makes("summary.measure"))
    counting(fleet, lambda event: isinstance(event.message, Chunk))
    status = fleet.end(runs(fleet))
    cause = status.cause
    assert status.state == "failed" and cause is not None and cause.code == Code.TRANSFER_STALLED
    assert "4 chunks" in cause.sentence and f"{CHUNK_PATIENCE_MS // 1000} s" in cause.sentence
    assert status.ended_ms - status.submitted_ms < 2 * CHUNK_PATIENCE_MS
    fleet.run_for(10_000)
    assert chunk_rows(fleet) == 0


def test_a_product_that_its_maker_has_dropped_fails_the_task_at_once() -> None:
    fleet = Fleet(2, compute=makes("summary.measure"))
    seen = counting(fleet, lambda event: isinstance(event.message, AskChunk))
    job_id = runs(fleet)
    fleet.run()
    assert seen["Results"] and fleet.status(job_id).state == "running"
    maker = fleet.nodes[1]
    fleet.step(maker, "worker", PeersAllowed(banned=frozenset([fleet.leader.id])))
    fleet.alter = lambda event: event
    fleet.run_for(5_000)
    cause = fleet.status(job_id).cause
    assert cause is not None and cause.code == Code.TRANSFER_STALLED and "no longer has" in cause.sentence


def test_an_altered_chunk_is_refused_and_asked_for_again() -> None:
    fleet = Fleet(2, compute=makes("summary.measure"))
    altered: list[bytes] = []

    def alter(event: Received) -> Received:
        message = event.message
        if not isinstance(message, Chunk) or altered:
            return event
        altered.append(message.digest)
        return msgspec.structs.replace(event, message=msgspec.structs.replace(message, data=message.data[:-1] + b"?"))

    fleet.alter = alter
    assert fleet.end(runs(fleet)).state == "succeeded"
    assert altered and Code.RESULT_ALTERED in fleet.refused


def test_a_manifest_that_its_worker_did_not_sign_is_refused() -> None:
    fleet = Fleet(2, compute=makes("summary.measure"))

    def alter(event: Received) -> Received:
        message = event.message
        if not isinstance(message, Results) or not isinstance(message.results[0].product, Manifest):
            return event
        product = message.results[0].product
        other = msgspec.structs.replace(product, chunks=product.chunks[::-1])
        results = (msgspec.structs.replace(message.results[0], product=other),)
        return msgspec.structs.replace(event, message=msgspec.structs.replace(message, results=results))

    fleet.alter = alter
    job_id = runs(fleet)
    fleet.run_for(1_000)
    assert fleet.status(job_id).state == "running" and Code.RESULT_ALTERED in fleet.refused


# --- who gets what -----------------------------------------------------------------------------------------------


def asked(fleet: Fleet, asker: int, job_id: bytes, digest: bytes) -> list[bytes]:
    """What node 1 answers when this node asks it for a chunk of its product."""
    answers: list[bytes] = []
    fleet.alter = lambda event: answers.append(event.message.data)
    index = next(iter(fleet.nodes[1].rows[kinds.ATTEMPT]))[-4:]
    ask = AskChunk(job_id=job_id, index=int.from_bytes(index), digest=digest)
    event = Received(message=ask, sender=fleet.nodes[asker].id, message_id=b"q" * 16, project=PROJECT.project_id)
    fleet.step(fleet.nodes[1], "worker", event)
    fleet.run()
    return answers


def test_a_chunk_is_lent_to_who_takes_the_product_and_to_nobody_else() -> None:
    fleet = Fleet(3, compute=lambda node, start: None if node.number == 2 else makes("summary.measure")(node, start))
    job_id = runs(fleet)
    fleet.run()
    digest = chunk_digest(next(chunks_of(bytes_of("1 summary.measure"))))
    assert asked(fleet, 0, job_id, digest) == [next(chunks_of(bytes_of("1 summary.measure")))]
    for wrong in ((2, job_id, digest), (0, job_id, b"d" * 32), (0, b"j" * 32, digest)):
        fleet.refused.clear()
        assert asked(fleet, *wrong) == [b""] and fleet.refused == [Code.JOB_UNKNOWN]


@pytest.mark.parametrize("index", [-1, JOB_TASKS_MAX, 1 << 32])
def test_a_chunk_of_a_task_that_cannot_be_is_refused_as_it_is_read(index: int) -> None:
    for message in (
        AskChunk(job_id=b"j" * 32, index=index, digest=b"d" * 32),
        Chunk(job_id=b"j" * 32, index=index, digest=b"d" * 32, data=b""),
    ):
        with pytest.raises(RemoteProtocolError):
            decode_message(*encode_message(message))


def test_more_than_a_task_can_fetch_is_refused_before_anything_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "TASK_FETCH_BYTES_MAX", PRODUCT_BYTES)
    fleet = Fleet(2, compute=makes("summary.measure"))
    seen = counting(fleet)
    cause = fleet.end(runs(fleet)).cause
    assert cause is not None and cause.code == Code.RESULT_TOO_LARGE and str(PRODUCT_BYTES) in cause.sentence
    assert seen["AskChunk"] == 0


# --- pieces of a product -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        [(1, b"first")],
        [(0, bytes(CHUNK_BYTES)), (0, b"again")],
        [(0, b"short"), (1, b"more")],
        [(0, b"")],
        [(0, bytes(CHUNK_BYTES + 1))],
    ],
    ids=["not the first", "one twice", "after a short one", "empty", "too long"],
)
def test_pieces_that_do_not_make_up_a_product_end_their_task(pieces: list[tuple[int, bytes]]) -> None:
    fleet = Fleet(1, compute=lambda _node, _start: None)
    job_id = runs(fleet)
    fleet.run()
    key, start = next(iter(fleet.leader.running.items()))
    run = start.run
    for number, data in pieces:
        fleet.step(fleet.leader, "worker", TaskPiece(key=key, number=number, data=data, run=run))
    cause = fleet.end(job_id).cause
    assert cause is not None and cause.code == Code.BODY_MALFORMED


def test_a_product_beyond_the_limit_of_its_operation_ends_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = msgspec.structs.replace(operations.OPERATIONS["summary.measure"], product_bytes_max=2 * CHUNK_BYTES)
    monkeypatch.setitem(operations.OPERATIONS, "summary.measure", measure)
    fleet = Fleet(1, compute=makes("summary.measure"))
    cause = fleet.end(runs(fleet)).cause
    assert cause is not None and cause.code == Code.RESULT_TOO_LARGE


def test_a_large_product_that_comes_whole_is_refused() -> None:
    fleet = Fleet(1, compute=lambda _node, _start: None)
    job_id = runs(fleet)
    fleet.run()
    key = next(iter(fleet.leader.running))
    fleet.step(fleet.leader, "worker", TaskProduced(key=key, product=bytes(INLINE_BYTES_MAX + 1)))
    cause = fleet.end(job_id).cause
    assert cause is not None and cause.code == Code.RESULT_TOO_LARGE


def test_what_an_earlier_child_of_a_task_still_says_of_its_product_is_not_heard() -> None:
    fleet = Fleet(1, compute=lambda _node, _start: None)
    job_id = runs(fleet)
    fleet.run()
    key, start = next(iter(fleet.leader.running.items()))
    for stale in (
        TaskPiece(key=key, number=0, data=b"old", run=start.run - 1),
        TaskProduced(key, b"", 1, start.run - 1),
    ):
        fleet.step(fleet.leader, "worker", stale)
    assert fleet.status(job_id).state == "running" and chunk_rows(fleet) == 0


def test_a_worker_that_is_started_again_has_children_of_ended_tasks_killed() -> None:
    """It may have fallen between the commit of a cancel and the end of the child."""
    fleet = Fleet(1, compute=lambda _node, _start: None)
    counting(fleet, lambda event: isinstance(event.message, Stop) and event.message.ended)
    job_id = runs(fleet)
    fleet.run()
    key = next(iter(fleet.leader.running))
    fleet.ask(AskCancel(job_id=job_id, cancel=cancel_of(job_id)))
    fleet.run()
    rows = {kind: sorted(table.items()) for kind, table in fleet.leader.rows.items()}
    begun = Worker(fleet.leader.key, fleet.leader.id, NodePolicy(sources={}), rows).begin(fleet.now)
    assert KillTask(key=key) in begun and not any(isinstance(effect, StartTask) for effect in begun)


# --- how much ----------------------------------------------------------------------------------------------------


def test_a_claim_of_more_than_the_operation_makes_is_refused() -> None:
    fleet = Fleet(2, compute=makes("summary.prepare"))

    def claim(event: Received) -> Received:
        message = event.message
        if not isinstance(message, Tasks) or not message.tasks[0].inputs:
            return event
        forged = Manifest(size_bytes=PRODUCT_BYTES_MAX, chunks=(b"d" * 32,) * (PRODUCT_BYTES_MAX // CHUNK_BYTES))
        offers = (msgspec.structs.replace(message.tasks[0], inputs=(forged,)),)
        return msgspec.structs.replace(event, message=msgspec.structs.replace(message, tasks=offers))

    fleet.alter = claim
    cause = fleet.end(runs(fleet)).cause
    assert cause is not None and cause.code == Code.RESULT_TOO_LARGE


def test_a_chunk_of_another_size_than_its_manifest_says_is_not_taken() -> None:
    fleet = Fleet(2, compute=makes("summary.measure"))
    longer = bytes_of("1 summary.measure")[:CHUNK_BYTES] + b"more"

    def swell(event: Received) -> Received:
        message = event.message
        if not isinstance(message, Chunk):
            return event
        return msgspec.structs.replace(
            event, message=msgspec.structs.replace(message, data=longer, digest=chunk_digest(longer))
        )

    fleet.alter = swell
    runs(fleet)
    fleet.run_for(10_000)
    assert all(len(data) <= CHUNK_BYTES for node in fleet.nodes for data in node.resources.values())


def test_a_node_holds_no_more_chunks_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "CHUNKS_HELD_BYTES_MAX", 3 * CHUNK_BYTES)
    fleet = Fleet(1, compute=makes("summary.measure"))
    cause = fleet.end(runs(fleet)).cause
    assert cause is not None and cause.code == Code.BUSY
    fleet.run_for(10_000)
    assert chunk_rows(fleet) == 0


def test_a_project_that_was_taken_away_ends_its_transfers() -> None:
    fleet = Fleet(3, compute=lambda node, start: None if node.number == 2 else makes("summary.measure")(node, start))
    job_id = runs(fleet)
    fleet.run()
    digest = chunk_digest(next(chunks_of(bytes_of("1 summary.measure"))))
    fleet.step(fleet.nodes[1], "worker", ProjectsHeld(projects=(), statement=b""))
    assert not fleet.nodes[1].rows.get(kinds.CHUNK) and not fleet.nodes[1].resources
    assert asked(fleet, 0, job_id, digest) == [b""]


# --- manifests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, PRODUCT_BYTES_MAX + 1, CHUNK_BYTES + 1])
def test_a_manifest_names_as_many_chunks_as_its_size_needs(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        Manifest(size_bytes=size, chunks=(b"d" * 32,))


def test_what_is_signed_of_a_large_product_covers_each_of_its_chunks() -> None:
    data = bytearray(bytes_of("product"))
    before = product_digest(manifest_of(bytes(data)))
    for at in (0, CHUNK_BYTES, len(data) - 1):
        data[at] ^= 1
        assert product_digest(manifest_of(bytes(data))) != before
        data[at] ^= 1


def test_the_limits_fit_together() -> None:
    assert CHUNK_BYTES * 2 > INLINE_BYTES_MAX and PRODUCT_BYTES_MAX <= TASK_FETCH_BYTES_MAX
    assert inline_bytes(250) * 250 <= TASK_INPUT_BYTES_MAX
