"""What actors of a node tell each other, beside the events of the machines. All are frozen records.

A question carries `reply_to`, the handle that the answer is told to, and a `ticket` that comes back with it:
nobody waits.
"""

from __future__ import annotations

from typing import Any

from actors.base import ActorHandle
from actors.inbox import Answer
from protocol.errors import FlottaError
from protocol.machines.contract import TaskEffect, Write
from protocol.plan.tasks import Fault, Inspection, SourceFile
from protocol.record import Record

# --- the store -----------------------------------------------------------------------------------


class Load(Record, frozen=True):
    """Read every record of the tables `kinds`. Answer: `Loaded`."""

    ticket: int
    kinds: tuple[str, ...]
    reply_to: ActorHandle


class Loaded(Answer, frozen=True):
    """`rows[kind]` is that table as (key, value) pairs in key order; every kind asked for is there."""

    ticket: int
    rows: dict[str, list[tuple[bytes, bytes]]]


class Commit(Record, frozen=True):
    """Write all of `writes` in one transaction, or none. Answer, in order: `Committed` or `CommitRefused`."""

    ticket: int
    writes: tuple[Write, ...]
    reply_to: ActorHandle


class Committed(Answer, frozen=True):
    """The writes of `ticket` are on disk."""

    ticket: int


class CommitRefused(Answer, frozen=True):
    """Nothing of `ticket` was written, and nothing of it will be; nor of what the same actor commits before its next
    `Load`.
    """

    ticket: int
    error: FlottaError


class FetchResource(Record, frozen=True):
    """Read the resource whose SHA-256 is `digest`. Answer: `ResourceFetched`."""

    ticket: int
    digest: bytes
    reply_to: ActorHandle


class ResourceFetched(Answer, frozen=True):
    """`data` is None when the store has no such resource."""

    ticket: int
    data: bytes | None


# --- the runner ---------------------------------------------------------------------------------


class TaskWanted(Record, frozen=True):
    """The end of a task is told to `reply_to`."""

    effect: TaskEffect
    reply_to: ActorHandle


class InspectWanted(Record, frozen=True):
    """Read a source in a child process. Answer: `Inspected`."""

    source: SourceFile
    reply_to: ActorHandle


class Inspected(Answer, frozen=True):
    """What is known of a source, or what is wrong with it: one of the two."""

    seen: Inspection | None = None
    fault: Fault | None = None


class SourceOpened(Record, frozen=True):
    """From now on tasks take this source only with the columns of its `schema`."""

    source: SourceFile


# --- reports ------------------------------------------------------------------------------------


class SnapshotWanted(Record, frozen=True):
    """How are you? Answer: `Snapshot`."""

    ticket: int
    reply_to: ActorHandle


class Snapshot(Answer, frozen=True):
    """What the actor `name` tells of itself: the snapshot of its machine, or plain values."""

    ticket: int
    name: str
    values: Any
