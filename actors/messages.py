"""What actors of a node tell each other, beside the events of the machines. All are frozen records.

A question carries `reply_to`, the handle that the answer is told to, and a `ticket` that comes back with it:
nobody waits.
"""

from __future__ import annotations

from typing import Any

from actors.base import ActorHandle
from actors.inbox import Answer
from protocol.errors import Code, FlottaError
from protocol.machines.contract import Record, Send, Write

# --- the store ----------------------------------------------------------------------------------------------


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
    """Nothing of `ticket` was written, and nothing of it will be."""

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


# --- the gate -----------------------------------------------------------------------------------------------


class Outgoing(Record, frozen=True):
    """Sign and send `send.message`. `owner` is the name of the actor whose machine wants it."""

    send: Send
    owner: str


class Refused(Record, frozen=True):
    """The machine of `owner` refused input from outside: count it, log it, answer the sender if it can be."""

    code: Code
    sentence: str
    owner: str
    to: bytes = b""
    session: bytes = b""
    reply_to: bytes = b""


# --- the runner ---------------------------------------------------------------------------------------------


class TaskWanted(Record, frozen=True):
    """`effect` is a `StartTask` or a `KillTask`; the end of a task is told to `reply_to`."""

    effect: Any
    reply_to: ActorHandle
