"""Large products at a worker: taken piece by piece from the child that makes one, lent chunk by chunk to the tasks that
take one, and fetched before a task that takes one starts.

Every chunk is committed, with a row that names it, before anything follows from it. So a transfer that was cut off goes
on where it was, and neither side ever holds more than a few chunks in memory. Part of the worker's machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from protocol import kinds
from protocol.errors import Code, DeniedError, RemoteProtocolError, UnreachableError, WorkflowError
from protocol.ids import JOB_ID_BYTES, short_id
from protocol.limits import (
    CHUNK_PATIENCE_MS,
    CHUNK_RETRY_MS,
    CHUNKS_ASKED_MAX,
    CHUNKS_HELD_BYTES_MAX,
    CHUNKS_LENT_MAX,
)
from protocol.machines.attempts import AttemptRow
from protocol.machines.contract import (
    ClearTimer,
    Drop,
    Effect,
    Keep,
    NextPiece,
    Now,
    Persist,
    Publish,
    Put,
    Received,
    Refuse,
    Release,
    Send,
    SetTimer,
    Write,
)
from protocol.machines.events import ResourceFound, ResourceWanted, TaskDied, TaskFaulted, TaskPiece, TaskProduced
from protocol.machines.tickets import Tickets
from protocol.plan.operations import operation
from protocol.plan.products import TOO_LARGE_STEP, Carried, Manifest, chunk_digest, chunks_in, is_next_piece
from protocol.wire.jobs import AskChunk, Chunk
from protocol.words import many

TIMER: Final = "chunks:"


class _Fetch:
    """What one task still needs. `asked`: chunk → when it was asked for."""

    def __init__(self, missing: dict[bytes, tuple[int, bytes, int]], now: Now) -> None:
        self.missing = missing  # chunk → index of the task that made it, that task's node, and its size
        self.asked: dict[bytes, int] = {}  # limits.CHUNKS_ASKED_MAX
        self.heard_ns = now.boot_ns

    @property
    def missing_bytes(self) -> int:
        return sum(size for _, _, size in self.missing.values())


class Transfers:
    """What of large products is here, for which job, and what is on its way. The worker calls one method for each thing
    that happens, and carries out the effects that it returns.
    """

    def __init__(self, rows: Mapping[str, list[tuple[bytes, bytes]]]) -> None:
        self._held: dict[bytes, dict[bytes, int]] = {}  # limits.CHUNKS_HELD_BYTES_MAX: sizes, by job
        for key, value in rows.get(kinds.CHUNK, []):
            self._held.setdefault(key[:JOB_ID_BYTES], {})[key[JOB_ID_BYTES:]] = int.from_bytes(value)
        self._held_bytes = sum(size for chunks in self._held.values() for size in chunks.values())
        self._runs: dict[bytes, int] = {}  # limits.TASKS_LIVE_PER_WORKER_MAX: the newest start of each task
        self._pieces: dict[bytes, list[tuple[bytes, int]]] = {}  # limits.TASK_SLOTS: task → digest and size of each
        self._fetches: dict[bytes, _Fetch] = {}  # limits.TASKS_LIVE_PER_WORKER_MAX
        self._lent = Tickets[tuple[Received, AskChunk]](CHUNKS_LENT_MAX)

    def check_room(self, size_bytes: int) -> None:
        """Whether so many bytes more may be held, whatever is on its way already. Raises DeniedError(BUSY)."""
        coming = sum(fetch.missing_bytes for fetch in self._fetches.values())
        if self._held_bytes + coming + size_bytes > CHUNKS_HELD_BYTES_MAX:
            raise DeniedError(
                Code.BUSY, "this node holds as much of large products as it may", next_step="submit again later"
            )

    # --- a product is made ------------------------------------------------------------------------

    def start(self, row: AttemptRow, now: Now) -> list[Effect]:
        """At once, or when the large products that it takes are here. What an earlier child made does not count."""
        self._pieces.pop(row.key, None)
        self._runs[row.key] = now.boot_ns
        return self._fetch(row, now) or [row.start_task(now.boot_ns)]

    def is_stale(self, event: TaskPiece | TaskProduced | TaskFaulted | TaskDied) -> bool:
        """Whether it is of an earlier start of its task, whose child was killed."""
        if isinstance(event, TaskFaulted | TaskDied) or (isinstance(event, TaskProduced) and not event.pieces):
            return False  # the same whichever child says it
        return event.run != self._runs.get(event.key)

    def piece(self, row: AttemptRow, event: TaskPiece) -> list[Effect]:
        """Raises RemoteProtocolError for a piece that does not follow the one before it, WorkflowError for too many,
        DeniedError when there is no room.
        """
        if self.is_stale(event):
            return []
        pieces = self._pieces.setdefault(event.key, [])
        sizes = [size for _, size in pieces]
        if event.number != len(pieces) or not is_next_piece(sizes, event.data):
            raise RemoteProtocolError(Code.BODY_MALFORMED, "the process that computed the task sent the wrong pieces")
        _check_size(row, sum(sizes) + len(event.data))
        self.check_room(len(event.data))
        digest = chunk_digest(event.data)
        pieces.append((digest, len(event.data)))
        kept = self._kept(row.job_id, digest, event.data) if row.takers else []  # else only the facts of it are wanted
        return [*kept, NextPiece(key=event.key, run=event.run)]

    def product(self, row: AttemptRow, event: TaskProduced) -> Carried:
        """What the task made. Raises RemoteProtocolError when its pieces are not the product."""
        pieces = self._pieces.pop(event.key, [])
        if len(pieces) != event.pieces:
            raise RemoteProtocolError(
                Code.BODY_MALFORMED, "the process that computed the task lost part of its product"
            )
        if not pieces:
            if len(event.product) > row.inline_bytes:
                raise RemoteProtocolError(Code.RESULT_TOO_LARGE, f"a product of {len(event.product)} bytes came whole")
            _check_size(row, len(event.product))
            return event.product
        return Manifest(size_bytes=sum(length for _, length in pieces), chunks=tuple(digest for digest, _ in pieces))

    # --- a task takes large products --------------------------------------------------------------

    def _fetch(self, row: AttemptRow, now: Now) -> list[Effect]:
        """Asks for what the task needs and this node does not have; nothing when all is there."""
        held = self._held.get(row.job_id, {})
        missing = {
            digest: (*maker, size)
            for maker, carried in zip(row.makers, row.inputs, strict=False)  # nobody is named where nothing is large
            if isinstance(carried, Manifest)
            for digest, size in zip(carried.chunks, carried.chunk_sizes, strict=True)
            if digest not in held
        }
        if not missing:
            self._fetches.pop(row.key, None)
            return []
        self._fetches[row.key] = _Fetch(missing, now)
        return self._ask(row, now)

    def takers(self, event: Received, chunk: Chunk) -> list[bytes]:
        """The tasks that wait for this chunk, of this size, from who sent it. No data: the word that there is none."""
        maker = (chunk.index, event.sender)
        mine = ((key, fetch.missing.get(chunk.digest)) for key, fetch in self._fetches.items())
        waiting = ((key, wanted) for key, wanted in mine if wanted is not None and key.startswith(chunk.job_id))
        return [key for key, (*of, size) in waiting if tuple(of) == maker and len(chunk.data) in (0, size)]

    def arrived(self, row: AttemptRow, chunk: Chunk, now: Now) -> list[Effect]:
        """What a waiting task does with its chunk. Raises UnreachableError(TRANSFER_STALLED) for the word that there is
        none.
        """
        if not chunk.data:
            raise _gone(self._fetches[row.key].missing[chunk.digest][1])
        if chunk_digest(chunk.data) != chunk.digest:
            return [Refuse(code=Code.RESULT_ALTERED, sentence="a chunk that is not the one it says")]
        effects = self._kept(row.job_id, chunk.digest, chunk.data)
        fetch = self._fetches[row.key]
        del fetch.missing[chunk.digest]
        fetch.asked.pop(chunk.digest, None)
        fetch.heard_ns = now.boot_ns
        if fetch.missing:
            return [*effects, *self._ask(row, now)]
        del self._fetches[row.key]
        return [*effects, ClearTimer(name=TIMER + row.key.hex()), row.start_task(self._runs[row.key])]

    def ask_again(self, row: AttemptRow, now: Now) -> list[Effect]:
        """The timer of a fetch. Raises UnreachableError(TRANSFER_STALLED), naming who sends nothing."""
        fetch = self._fetches.get(row.key)
        if fetch is None:
            return []
        if now.boot_ns - fetch.heard_ns >= CHUNK_PATIENCE_MS * 1_000_000:
            _, node, _ = next(iter(fetch.missing.values()))
            raise UnreachableError(
                Code.TRANSFER_STALLED,
                f"nothing of a product that this task takes has come from the node {short_id(node)} for "
                f"{CHUNK_PATIENCE_MS // 1000} s ({many(len(fetch.missing), 'chunk')} missing)",
                next_step="see whether that node is up and how fast the link to it is, then submit again",
            )
        return self._ask(row, now)

    def _ask(self, row: AttemptRow, now: Now) -> list[Effect]:
        """Fills the window: chunks that were never asked for, or too long ago."""
        fetch = self._fetches[row.key]
        overdue_ns = now.boot_ns - CHUNK_RETRY_MS * 1_000_000
        for digest in [one for one, asked_ns in fetch.asked.items() if asked_ns <= overdue_ns]:
            del fetch.asked[digest]
        effects: list[Effect] = []
        for digest, (index, node, _) in fetch.missing.items():
            if len(fetch.asked) >= CHUNKS_ASKED_MAX:
                break
            if digest not in fetch.asked:
                fetch.asked[digest] = now.boot_ns
                ask = AskChunk(job_id=row.job_id, index=index, digest=digest)
                effects.append(Send(message=ask, to=node, project=row.project, fence=row.epoch))
        return [*effects, SetTimer(name=TIMER + row.key.hex(), at_ns=now.after_ms(CHUNK_RETRY_MS))]

    # --- others take what this node made ----------------------------------------------------------

    def asked(self, event: Received, ask: AskChunk, row: AttemptRow | None, now: Now) -> list[Effect]:
        """`row`: the task whose product it is, if its project is still held. Only who takes this product gets it."""
        mine = row is not None and event.sender in row.takers and event.project == row.project
        if row is None or not mine or ask.digest not in chunks_in(row.product):
            refused = Refuse(code=Code.JOB_UNKNOWN, sentence="a chunk was asked for that is not here for its asker")
            return [refused, _answer(event, ask, b"")]
        ticket = self._lent.take((event, ask), now)
        if ticket is None:
            return [Refuse(code=Code.BUSY, sentence="too many chunks are asked for at once")]  # it asks again
        return [Publish(event=ResourceWanted(ticket=ticket, digest=ask.digest, taker="worker"))]

    def found(self, event: ResourceFound) -> list[Effect]:
        """The store has read a chunk, or has it no longer, since the job is over."""
        asked = self._lent.pop(event.ticket)
        if asked is None:
            return []
        data = event.data if event.data is not None and chunk_digest(event.data) == asked[1].digest else b""
        return [_answer(*asked, data)]

    # --- the end ----------------------------------------------------------------------------------

    def ended(self, key: bytes) -> list[Effect]:
        """The task is no longer computed here, by whatever cause."""
        self._pieces.pop(key, None)
        self._runs.pop(key, None)
        return [ClearTimer(name=TIMER + key.hex())] if self._fetches.pop(key, None) is not None else []

    def forget(self, job_id: bytes) -> list[Write]:
        """The job is over: its chunks go, unless somebody else holds them, as the job itself does its result."""
        chunks = self._held.pop(job_id, {})
        self._held_bytes -= sum(chunks.values())
        held = sorted(chunks)
        drops = (Drop(kind=kinds.CHUNK, key=job_id + digest) for digest in held)
        return [*drops, Release(digests=tuple(held))] if held else []

    def check(self, lives: Callable[[bytes], bool]) -> None:
        assert len(self._lent) <= CHUNKS_LENT_MAX
        assert all(len(fetch.asked) <= CHUNKS_ASKED_MAX for fetch in self._fetches.values())
        assert all(map(lives, self._fetches))

    def _kept(self, job_id: bytes, digest: bytes, data: bytes) -> list[Effect]:
        held = self._held.setdefault(job_id, {})
        if digest in held:
            return []
        held[digest] = len(data)
        self._held_bytes += len(data)
        row = Put(kind=kinds.CHUNK, key=job_id + digest, value=len(data).to_bytes(4))
        return [Persist(writes=(Keep(digest=digest, data=data), row))]


def _check_size(row: AttemptRow, size_bytes: int) -> None:
    limit = operation(row.operation).product_bytes_max
    if size_bytes > limit:
        sentence = f"the product has more than the {limit} bytes that may leave a task of {row.operation}"
        raise WorkflowError(Code.RESULT_TOO_LARGE, sentence, next_step=TOO_LARGE_STEP)


def _answer(event: Received, ask: AskChunk, data: bytes) -> Send:
    """Without data: there is no such chunk for this asker, and there will not be."""
    chunk = Chunk(job_id=ask.job_id, index=ask.index, digest=ask.digest, data=data)
    return Send(message=chunk, to=event.sender, project=event.project, reply_to=event.message_id)


def _gone(node: bytes) -> UnreachableError:
    return UnreachableError(
        Code.TRANSFER_STALLED,
        f"the node {short_id(node)} no longer has a product that this task takes",
        next_step="submit again",
    )
